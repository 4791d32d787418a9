"""A run in one line, as `glassgpt runs` shows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glassgpt import config as configs
from glassgpt.errors import GlassGPTError, RunError
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.reading import read_comparison, read_config, read_lineage
from glassgpt.runs.records import Reached, reached, read_lines
from glassgpt.training.events import Evaluated, Event, StepsFinished, TrainingFinished, TrainingStarted


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How far a run came. Numbers are None where nothing is known."""

    name: str
    parameters: int | None
    step: int
    steps: int | None
    best_loss: float | None
    bits_per_byte: float | None
    tokens: int
    seconds: float
    state: str

    def row(self) -> tuple[str, ...]:
        """Return the summary as the text of table cells."""
        return (
            self.name,
            f"{self.parameters:,}" if self.parameters else "-",
            f"{self.step}/{self.steps}" if self.steps else "-",
            f"{self.best_loss:.4f}" if self.best_loss is not None else "-",
            f"{self.bits_per_byte:.4f}" if self.bits_per_byte is not None else "-",
            duration(self.seconds),
            self.state,
        )


def duration(seconds: float) -> str:
    """Return a time as a person would write it: 42 s, 12 min, 3 h 20 min."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(slots=True)
class _Progress:
    """What a summary needs from the events, collected while reading: a run may have a million."""

    started: TrainingStarted | None = None
    last: StepsFinished | None = None
    best: Evaluated | None = None
    finished: TrainingFinished | None = None
    step: int = 0
    seconds: float = 0.0
    damaged: str | None = None

    def take(self, event: Event) -> None:
        self.step = max(self.step, event.step)
        if isinstance(event, StepsFinished | Evaluated):
            self.seconds = max(self.seconds, event.seconds)
        if isinstance(event, TrainingStarted):
            self.started = event
        elif isinstance(event, StepsFinished):
            self.last = event
        elif isinstance(event, TrainingFinished):
            self.finished = event
        elif isinstance(event, Evaluated) and math.isfinite(event.loss):
            self.best = event if self.best is None or event.loss < self.best.loss else self.best


def summarize(run: RunDirectory) -> RunSummary:
    """Read the metrics of a run into a summary. Its state names damaged files; nothing is raised."""
    progress = _progress(run)
    started, last, best, finished = progress.started, progress.last, progress.best, progress.finished
    imported = None if started else _imported_parameters(run)
    reason = finished.reason if finished else "imported" if imported else "unfinished"
    return RunSummary(
        name=run.name,
        parameters=started.parameters if started else imported,
        step=progress.step,
        steps=(last.steps if last else None) or (started.steps if started else None),
        best_loss=best.loss if best else None,
        bits_per_byte=best.bits_per_byte if best else None,
        tokens=last.tokens if last else 0,
        seconds=progress.seconds,
        state=_damaged_file(run) or progress.damaged or reason,
    )


def _damaged_file(run: RunDirectory) -> str | None:
    """Name a file of a run, other than the metrics, that cannot be used; None when all can."""
    unborn = not (run.lineage.exists() or run.checkpoints.exists() or run.weights.exists())
    readers: list[tuple[Path, Callable[[RunDirectory], object]]] = [(run.config, read_config)]
    if not unborn:
        readers.append((run.lineage, read_lineage))
    if run.finetune.exists():
        readers.append((run.finetune, lambda run: configs.read_toml(run.finetune)["kind"]))
    if run.comparison.exists():
        readers.append((run.comparison, read_comparison))
    for path, read in readers:
        try:
            read(run)
        except (GlassGPTError, KeyError):
            return f"damaged: {path.name}"
    return None


def _progress(run: RunDirectory) -> _Progress:
    progress, lines, checkpoint = _Progress(), 0, _newest(run)
    try:
        for line in read_lines(run.metrics):
            lines += line.is_damaged
            if line.event is not None:
                if checkpoint is not None and checkpoint.contradicts(line.event):
                    return _Progress(damaged=f"{run.metrics.name} belongs to another run")
                progress.take(line.event)
    except RunError:
        return _Progress(damaged=f"damaged: {run.metrics.name}")
    if lines:
        progress.damaged = f"damaged: {run.metrics.name} ({lines} line{'s' if lines > 1 else ''})"
    return progress


def _newest(run: RunDirectory) -> Reached | None:
    """Return what the newest checkpoint states, or None where none can be read."""
    try:
        return reached(max(run.checkpoints.glob("step-*/")))
    except (OSError, ValueError):
        return None


def _imported_parameters(run: RunDirectory) -> int | None:
    """Return the number of parameters of an imported run, or None for any other run."""
    try:
        lineage = read_lineage(run)
        return lineage.model.parameters if lineage.is_imported else None
    except RunError:
        return None
