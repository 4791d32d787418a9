"""What a training looks like in the terminal: the live line, and the closing words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from glassgpt.cli.progress import TerminalProgress
from glassgpt.cli.terminal import printable, shorten
from glassgpt.device import world_from_environment
from glassgpt.evaluation.stories import score_run, story_source
from glassgpt.pretraining.run import Outcome
from glassgpt.runs.opening import open_run
from glassgpt.training.events import Listener

STORIES_SCORED = 100
STORIES_SHOWN = 3
Start = Callable[[Callable[[str], None], Sequence[Listener]], Outcome]


def show_training(start: Start) -> int:
    """Run a training with its progress on the terminal; return the exit status."""
    console = Console(quiet=not world_from_environment().is_main, highlight=False)
    with TerminalProgress(console) as progress:
        outcome = start(lambda line: console.print(escape(line), style="dim", soft_wrap=True), [progress])
    if outcome.finished.reason == "interrupted":
        console.print(f"\nStopped at step {outcome.finished.step} with everything saved. Go on with:\n")
        console.print(f"  [bold]glassgpt resume {escape(outcome.directory.name)}[/]\n")
        return 130
    if world_from_environment().is_main:
        _say_result(console, outcome)
        _show_stories(console, outcome)
        _say_where(console, outcome)
    return 0


def _say_result(console: Console, outcome: Outcome) -> None:
    finished = outcome.finished
    early = " (no improvement for a while)" if finished.reason == "no improvement" else ""
    console.print(
        f"\n[bold]Best validation loss {finished.best_loss:.3f}[/] nats a token, at step {finished.best_step} of "
        f"{finished.step}{early}, after {finished.seconds:.0f} s of training."
    )
    if outcome.floor:
        above = finished.best_loss - outcome.floor.loss
        console.print(
            f"The lowest that is possible on these stories is [green]{outcome.floor.loss:.3f}[/] "
            f"(the grammar's entropy): the model is {above:.3f} above it."
        )


def _show_stories(console: Console, outcome: Outcome) -> None:
    """For the built-in stories: print a few the model wrote, and how many are valid and new."""
    run = open_run(str(outcome.directory.path))
    if story_source(run.config.corpus.sources) is None:
        return
    stories, score = score_run(run, count=STORIES_SCORED)
    console.print(f"\n[bold]{STORIES_SHOWN} stories it wrote:[/]")
    for story in stories[:STORIES_SHOWN]:
        shown = shorten(printable(story.strip()), 700)
        console.print(Padding(escape(shown), (1, 4)), style="italic", width=min(100, console.width))
    console.print(
        f"Of {score.total} stories it wrote, [bold]{score.valid}[/] are valid under the grammar, and "
        f"[bold]{score.new}[/] of those stand nowhere in the text it learned from.",
        soft_wrap=True,
    )


def _say_where(console: Console, outcome: Outcome) -> None:
    path, name = outcome.directory.path, outcome.directory.name
    rows = (
        ("loss curve", outcome.directory.plot),
        ("report", outcome.directory.report),
        ("samples", outcome.directory.samples),
        ("everything", path),
    )
    console.print()
    for label, where in rows:
        console.print(f"  {label:<11} {escape(str(where))}", soft_wrap=True)
    console.print(f"\nAsk it for more:  [bold]glassgpt generate {escape(name)}[/]\n", soft_wrap=True)
