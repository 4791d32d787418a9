"""`glassgpt runs show`: everything about one run on one screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table

from glassgpt.cli.terminal import make_console, print_table, shown, visible

if TYPE_CHECKING:
    from glassgpt.runs.directory import RunDirectory
    from glassgpt.runs.facts import Lineage
    from glassgpt.runs.summary import RunSummary


def show(run: str = "latest") -> None:
    """Show everything about one run: its numbers, its text, its settings, its files.

    Args:
        run: A run's name or path, or latest.
    """
    from glassgpt.commands import command, quoted
    from glassgpt.runs.directory import find_run
    from glassgpt.runs.keeping import is_unfinished, made_from
    from glassgpt.runs.reading import asking, readable_lineage
    from glassgpt.runs.summary import summarize

    console = make_console()
    directory = find_run(run)
    summary = summarize(directory)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _facts(directory, summary):
        table.add_row(label, shown(value))
    for other, needs in made_from(directory):
        table.add_row("base of", shown(f"{other.name}{' (which needs it to open)' * needs}"))
    console.print(f"[bold]{shown(directory.name)}[/]")
    print_table(console, table)
    lineage = readable_lineage(directory)
    if lineage is not None and lineage.command:  # on a line that can be copied, however long it is
        console.print("\n[dim]made with[/]")
        console.print(f"  {shown(' '.join(map(quoted, lineage.command)))}", soft_wrap=True)
    changed = _changed(summary)
    if changed:
        console.print("\n[dim]settings that are not at their defaults[/]")
        for name, value in changed.items():
            console.print(f"  {shown(name)} {shown(value)}", soft_wrap=True)
    go_on = is_unfinished(directory, summary.state)
    line = command("resume", directory.handle) if go_on else asking(directory)
    console.print(f"\n{'Continue it' if go_on else 'Use it'}:  [bold]{shown(line)}[/]", soft_wrap=True)


def _facts(run: RunDirectory, summary: RunSummary) -> Iterator[tuple[str, str]]:
    """Yield the lines of the table as labels and values."""
    import time

    from glassgpt.runs.reading import readable_lineage
    from glassgpt.runs.summary import duration

    if summary.note:
        yield "note", summary.note
    yield "state", summary.state
    if summary.steps:
        yield "steps", f"{summary.step:,} of {summary.steps:,}, in {duration(summary.seconds)}"
    if summary.best_loss is not None:
        bits = f", {summary.bits_per_byte:.4f} bits/byte" if summary.bits_per_byte is not None else ""
        yield "best loss", f"{summary.best_loss:.4f} nats a token{bits}"
    if summary.parameters:
        yield "parameters", f"{summary.parameters:,}"
    if summary.tokens:
        yield "tokens seen", f"{summary.tokens:,}"
    lineage = readable_lineage(run)
    if lineage is not None:
        yield from _origin(run.name, lineage)
    yield "changed", time.strftime("%Y-%m-%d %H:%M", time.localtime(summary.changed))
    yield "folder", f"{run.path} ({_sizes(run, summary)})"


def _origin(name: str, lineage: Lineage) -> Iterator[tuple[str, str]]:
    chain, above = [f"{name} ({lineage.kind})"], lineage
    while above.base is not None:
        chain.insert(0, f"{above.base.name} ({above.base.lineage.kind})")
        above = above.base.lineage
    yield "kind", " -> ".join(chain) if len(chain) > 1 else lineage.kind
    for source in lineage.data.sources if lineage.data else ():
        yield "text", source.name


def _sizes(run: RunDirectory, summary: RunSummary) -> str:
    """Return the size of a run, and how much of it are checkpoints."""
    from glassgpt.model.summary import byte_size
    from glassgpt.runs.summary import size_of

    checkpoints = size_of(run.checkpoints)
    part = f", {byte_size(checkpoints)} of it checkpoints" if checkpoints else ""
    return f"{byte_size(summary.size)}{part}"


def _changed(summary: RunSummary) -> dict[str, str]:
    """Return the settings that differ from the defaults, as they are given on the command line."""
    from glassgpt import config as configs
    from glassgpt.idle import option
    from glassgpt.idle import shown as as_given
    from glassgpt.runs.config import RunConfig
    from glassgpt.runs.summary import flat

    usual: dict[str, Any] = flat(configs.to_dict(RunConfig()))
    return {
        option(name): visible(as_given(value))
        for name, value in summary.settings.items()
        if "." in name and (name not in usual or _plain(usual[name]) != _plain(value))
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
