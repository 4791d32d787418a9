"""The live line of a training: an ordinary listener, which only reads events."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from glassgpt.cli.terminal import WIDEST, printable, say, shorten, shown
from glassgpt.runs.summary import duration
from glassgpt.training.events import (
    Evaluated,
    Event,
    Noted,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
)

ROOM = 90
"""Columns that the whole live line takes; in a narrower window it has no bar and no elapsed time."""

NOTEWORTHY = 0.1
"""The share by which the number of steps has to change before that is explained."""


class TerminalProgress:
    """Shows loss, validation loss, tokens a second and the time left; prints a line at each evaluation."""

    what = "The progress line"

    def __init__(self, console: Console) -> None:
        self._console = console
        narrow = console.width < ROOM
        self._bar = Progress(
            TextColumn("step {task.completed:>{task.fields[width]}}/{task.total}"),
            *([] if narrow else [BarColumn(bar_width=24)]),
            TextColumn("loss [bold]{task.fields[loss]}[/]"),
            TextColumn("{task.fields[speed]}", style="dim"),
            *([] if narrow else [TimeElapsedColumn()]),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = None
        self._planned = 0

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case TrainingStarted():
                self._begin(event)
            case StepsFinished() if self._task is not None:
                self._bar.update(
                    self._task,
                    completed=event.step,
                    total=event.steps or None,
                    loss=f"{event.loss:.3f}",
                    speed=f"{event.tokens_per_second:,.0f} tokens/s",
                )
            case Evaluated():
                self._tell_evaluation(event)
            case Sampled():
                self._tell_sample(event)
            case TrainingFinished(reason="finished") if self._task is not None:
                self._explain_steps(event.step, event.seconds)
            case Noted():
                self._console.print(f"[dim]{shown(event.text)}[/]")
            case _:
                pass

    def _begin(self, event: TrainingStarted) -> None:
        epochs = event.steps / event.steps_per_epoch
        passes = f"{epochs:.1f} passes over the data" if epochs >= 1 else f"{epochs:.0%} of the data"
        self._console.print(
            f"[bold]{event.parameters:,}[/] parameters, {event.steps:,} steps of {event.tokens_per_step:,} tokens "
            f"({passes}), on {event.device} in {event.precision}."
        )
        if event.step:
            self._console.print(f"Continuing from step {event.step}.")
        self._planned = event.steps
        self._console.print("\n[dim]    step      loss   perplexity   bits/byte   seconds[/]")
        self._bar.start()
        self._task = self._bar.add_task(
            "", total=event.steps, completed=event.step, width=len(str(event.steps)), loss="-", speed=""
        )

    def _explain_steps(self, made: int, seconds: float) -> None:
        """Say why a training in minutes made more or fewer steps than its first line announced."""
        if abs(made - self._planned) <= NOTEWORTHY * self._planned:
            return
        say(
            self._console,
            f"{made:,} steps instead of {self._planned:,}: the time was fixed, and the {duration(seconds)} that were "
            f"left for training were enough for {'fewer' if made < self._planned else 'more'} steps than expected. The "
            "learning rate was fitted to them.",
            style="dim",
        )

    def _tell_evaluation(self, event: Evaluated) -> None:
        mark = " [green]best[/]" if event.best else ""
        perplexity = bits = "-"
        if event.perplexity is not None:
            perplexity = f"{event.perplexity:,.2f}" if event.perplexity < 1e6 else ">1 million"
        if event.bits_per_byte is not None:
            bits = f"{event.bits_per_byte:.4f}"
        further = "".join(f"  [dim]{shown(name)}[/] {value:.3f}" for name, value in event.metrics.items())
        self._console.print(
            f"{event.step:>8}  {event.loss:>8.4f}   {perplexity:>10}   {bits:>9}   {event.seconds:>7.1f}"
            f"{mark}{further}",
            width=self._console.width,
        )

    def _tell_sample(self, event: Sampled) -> None:
        """Show the beginning of the first sample on one line."""
        if not event.texts:
            return
        text = shorten(
            " ".join(printable(event.texts[0]).split()), max(20, min(WIDEST, self._console.width) - 12)
        )
        self._console.print(f"          [dim italic]{shown(text)}[/]")
