"""What a training looks like in the terminal: the live line, and the closing words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from glassgpt.cli import verdict
from glassgpt.cli.main import INTERRUPTED
from glassgpt.cli.progress import TerminalProgress
from glassgpt.cli.terminal import make_console, print_table, printable, prose_width, say, shorten, shown
from glassgpt.commands import command
from glassgpt.device import world_from_environment
from glassgpt.evaluation.stories import score_run, story_source
from glassgpt.jobs.work import Outcome
from glassgpt.runs.facts import Comparison
from glassgpt.runs.opening import open_run
from glassgpt.runs.reading import asking, read_comparison
from glassgpt.training.events import Listener

STORIES_SCORED = 100
STORIES_SHOWN = 3
Start = Callable[[Callable[[str], None], Sequence[Listener]], Outcome]


def show_training(start: Start) -> int:
    """Run a training with its progress on the terminal; return the exit status."""
    return _show(start, _say_trained)


def show_finetuning(start: Start) -> int:
    """Run a fine-tuning with its progress on the terminal, then its result; return the exit status."""
    return _show(start, _say_finetuned)


def _show(start: Start, say_end: Callable[[Console, Outcome], None]) -> int:
    console = make_console(lasting=True, quiet=not world_from_environment().is_main)
    with TerminalProgress(console) as progress:
        outcome = start(lambda line: say(console, line, style="dim"), [progress])
    if outcome.finished.reason == "interrupted":
        again = command("resume", outcome.directory.handle)
        say(
            console,
            f"\nStopped at step {outcome.finished.step} with everything saved. Resume with:  {again}\n",
        )
        return INTERRUPTED
    if world_from_environment().is_main:
        say_end(console, outcome)
    return 0


def _say_trained(console: Console, outcome: Outcome) -> None:
    _say_result(console, outcome)
    _show_stories(console, outcome)
    verdict.say_trained(console, outcome)
    _say_where(console, outcome)


def _say_finetuned(console: Console, outcome: Outcome) -> None:
    comparison = read_comparison(outcome.directory)
    _show_comparison(console, comparison)
    verdict.say_finetuned(console, comparison)
    _say_where(console, outcome)


def _show_comparison(console: Console, comparison: Comparison) -> None:
    """Show the comparison before and after: the numbers as a table, the samples side by side."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", title_justify="left")
    table.add_column("")
    for column in ("before", "after"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, (before, after) in comparison["numbers"].items():
        table.add_row(shown(name), f"{before:,.3f}", f"[bold]{after:,.3f}[/]")
    console.print()
    print_table(console, table)
    if not comparison["samples"]:
        return
    beside = Table(box=box.ROUNDED, show_lines=True, header_style="bold", width=min(120, console.width))
    for column in ("asked", "before", "after"):
        beside.add_column(column, ratio=1, overflow="fold")
    for sample in comparison["samples"]:
        cells = (sample["prompt"], sample["before"], sample["after"])
        beside.add_row(*(shown(shorten(printable(cell.strip()), 400), lines=True) for cell in cells))
    console.print(beside)


def _say_result(console: Console, outcome: Outcome) -> None:
    finished = outcome.finished
    early = " (no improvement for a while)" if finished.reason == "no improvement" else ""
    console.print(
        f"\n[bold]Best validation loss {finished.best_loss:.3f}[/] nats a token, at step {finished.best_step} of "
        f"{finished.step}{early}, after {finished.seconds:.0f} s of training."
    )
    if outcome.floor is not None:
        above = finished.best_loss - outcome.floor
        console.print(
            f"The lowest possible loss on these stories is [green]{outcome.floor:.3f}[/] "
            f"(the grammar's entropy): the model is {above:.3f} above it."
        )


def _show_stories(console: Console, outcome: Outcome) -> None:
    """For the built-in stories, print a few that the model wrote, and how many are valid and new."""
    run = open_run(str(outcome.directory.path))
    if story_source(run.config.corpus.sources) is None:
        return
    stories, score = score_run(run, count=STORIES_SCORED)
    console.print(f"\n[bold]{STORIES_SHOWN} stories it wrote:[/]")
    for story in stories[:STORIES_SHOWN]:
        text = shown(shorten(printable(story.strip()), 700), lines=True)
        console.print(Padding(text, (1, 4)), style="italic", width=prose_width(console))
    say(
        console,
        f"Of {score.total} stories it wrote, {score.valid} are valid under the grammar, and {score.new} of those do "
        "not occur in the text it learned from.",
    )


def _say_where(console: Console, outcome: Outcome) -> None:
    rows = (
        ("loss curve", outcome.directory.plot),
        ("report", outcome.directory.report),
        ("samples", outcome.directory.samples),
        ("adapter", outcome.directory.adapter),
        ("confusion", outcome.directory.confusion),
        ("everything", outcome.directory.path),
    )
    console.print()
    for label, where in (row for row in rows if row[1].exists()):
        console.print(f"  {label:<11} {shown(where)}", soft_wrap=True)
    say(console, f"\nAsk it for more:  {asking(outcome.directory)}\n")
