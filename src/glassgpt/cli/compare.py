"""`glassgpt runs compare`: several runs in one table and one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from glassgpt.cli.runs import MOST_SETTINGS, print_runs
from glassgpt.cli.terminal import make_console, middle, print_table, shown, visible

if TYPE_CHECKING:
    from glassgpt.runs.comparing import Compared
    from glassgpt.runs.directory import RunDirectory
    from glassgpt.runs.summary import RunSummary


def compare(
    *runs: str,
    output: Path = Path("compare.png"),
    by: Literal["time", "steps", "tokens", "flops"] = "time",
    band: bool | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Put runs side by side and draw their validation curves over each other.

    Args:
        runs: Runs by name or path, or patterns in quotes such as 'tale-*'.
        output: The picture to write; it replaces an earlier comparison.
        by: What the curves are drawn over.
        band: Draw runs that differ only in their seed as their mean and their range. When left out: with more than
            ten runs.
        force: Overwrite any other existing file, too.
    """
    from glassgpt.errors import RunError
    from glassgpt.outputs import refuse_overwriting
    from glassgpt.runs.comparing import comparison_figure, is_comparison, save_comparison
    from glassgpt.runs.listing import matching
    from glassgpt.runs.summary import summarize

    found = matching(runs) if runs else []
    if len(found) < 2 and len(runs) < 2:
        raise RunError("A comparison needs at least two runs:  glassgpt runs compare A B")
    refuse_overwriting(
        output,
        option="--output",
        inputs=lambda: [run.path for run in found],
        force=force,
        replaceable=is_comparison,
    )
    console = make_console()
    summaries = [summarize(run) for run in found]
    print_runs(console, summaries)
    _print_further(console, summaries)
    # A run without a known loss has no curve; its metrics may be those of another run.
    drawn = [
        _compared(run, summary, by)
        for run, summary in zip(found, summaries, strict=True)
        if summary.best_loss is not None
    ]
    save_comparison(comparison_figure(drawn, by=by, band=band), output)
    console.print(f"\nValidation curves: {shown(output)}", soft_wrap=True)


def _compared(run: RunDirectory, summary: RunSummary, by: str) -> Compared:
    from glassgpt.model.summary import flops_per_token
    from glassgpt.runs.comparing import Compared
    from glassgpt.runs.reading import read_config
    from glassgpt.runs.records import read_events

    flops = flops_per_token(read_config(run).model) if by == "flops" else 0.0
    return Compared(run.name, read_events(run.metrics), summary.settings, flops)


def _print_further(console: Console, summaries: Sequence[RunSummary]) -> None:
    """Print the settings that differ and have no column: each value, and the runs that have it."""
    from glassgpt.idle import shown as as_given
    from glassgpt.runs.listing import differing

    further = differing(summaries)[MOST_SETTINGS:]
    if not further:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("further settings that differ", "value", "runs"):
        table.add_column(title, overflow="fold")
    for name in further:
        values: dict[str, list[str]] = {}
        for summary in summaries:
            value = summary.settings.get(name)
            values.setdefault("-" if value is None else as_given(value) or "true", []).append(summary.name)
        for row, (value, names) in enumerate(values.items()):
            cells = (middle(visible(value), 40), middle(visible(", ".join(names)), 60))
            table.add_row(shown(name) if row == 0 else "", *map(shown, cells))
    console.print()
    print_table(console, table)
