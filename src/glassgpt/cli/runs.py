"""`glassgpt runs`: the runs in this folder, and comparisons of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table

from glassgpt.cli.terminal import make_console, print_table, shown

app = App(name="runs", help="List runs, or compare several.")


@app.default
def list_() -> None:
    """List the runs in this folder, newest last."""
    from glassgpt.runs.directory import list_runs, runs_folder
    from glassgpt.runs.summary import summarize

    console = make_console()
    summaries = [summarize(run) for run in list_runs()]
    if not summaries:
        console.print(f"There is no run in {shown(runs_folder())} yet. Make one with:  glassgpt train")
        return
    print_table(console, _table(summaries))


@app.command
def compare(
    *runs: str,
    output: Path = Path("compare.png"),
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Put runs side by side and draw their validation curves over each other.

    Args:
        runs: Two or more runs, by name or path.
        output: The picture to write; it replaces an earlier comparison.
        force: Overwrite any other existing file, too.
    """
    from glassgpt.errors import RunError
    from glassgpt.outputs import refuse_overwriting
    from glassgpt.runs.comparing import comparison_figure, is_comparison, save_comparison
    from glassgpt.runs.directory import find_run
    from glassgpt.runs.records import read_events
    from glassgpt.runs.summary import summarize

    if len(runs) < 2:
        raise RunError("A comparison needs at least two runs:  glassgpt runs compare A B")
    found = [find_run(name) for name in runs]
    refuse_overwriting(
        output,
        option="--output",
        inputs=lambda: [run.path for run in found],
        force=force,
        replaceable=is_comparison,
    )
    console = make_console()
    summaries = [summarize(run) for run in found]
    print_table(console, _table(summaries))
    # A run without a known loss has no curve; its metrics may be those of another run.
    measured = [run for run, summary in zip(found, summaries, strict=True) if summary.best_loss is not None]
    save_comparison(comparison_figure([(run.name, read_events(run.metrics)) for run in measured]), output)
    console.print(f"\nValidation curves: {shown(output)}")


def _table(summaries: list) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("run", overflow="fold", min_width=12)
    for name in ("parameters", "steps", "loss", "bits/byte", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for summary in summaries:
        table.add_row(*map(shown, summary.row()))
    return table
