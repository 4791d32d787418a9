"""A run in one line: what `glassgpt runs` shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glassgpt import config as configs
from glassgpt.errors import GlassGPTError, RunError
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.reading import read_comparison, read_config, read_lineage
from glassgpt.runs.records import read_events, read_story
from glassgpt.training.events import Evaluated, Event, StepsFinished, TrainingFinished, TrainingStarted


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How far a run came. Numbers are None while there is nothing to say."""

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
        """Return the summary as cells of text."""
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
    """Return a time as a person says it: 42 s, 12 min, 3 h 20 min."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def summarize(run: RunDirectory) -> RunSummary:
    """Read the metrics of a run into a summary. Whatever is damaged is named in its state, and nothing is raised."""
    events, damage = _events(run), damaged(run)
    started = [event for event in events if isinstance(event, TrainingStarted)]
    steps = [event for event in events if isinstance(event, StepsFinished)]
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    finished = [event for event in events if isinstance(event, TrainingFinished)]
    best = min(
        (event for event in evaluations if math.isfinite(event.loss)),
        key=lambda event: event.loss,
        default=None,
    )
    imported = None if started else _imported_parameters(run)
    return RunSummary(
        name=run.name,
        parameters=started[-1].parameters if started else imported,
        step=max((event.step for event in events), default=0),
        steps=(steps[-1].steps if steps else None) or (started[-1].steps if started else None),
        best_loss=best.loss if best else None,
        bits_per_byte=best.bits_per_byte if best else None,
        tokens=steps[-1].tokens if steps else 0,
        seconds=max((event.seconds for event in [*steps, *evaluations]), default=0.0),
        state=damage or (finished[-1].reason if finished else "imported" if imported else "unfinished"),
    )


def damaged(run: RunDirectory) -> str | None:
    """Say in a few words which file of a run cannot be used, or return None when all can."""
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
    try:
        lines = read_story(run.metrics).damaged
    except RunError:
        return f"damaged: {run.metrics.name}"
    return f"damaged: {run.metrics.name} ({lines} line{'s' if lines > 1 else ''})" if lines else None


def _events(run: RunDirectory) -> list[Event]:
    try:
        return read_events(run.metrics)
    except RunError:
        return []


def _imported_parameters(run: RunDirectory) -> int | None:
    """Return how many parameters an imported run has, or None for any other run."""
    try:
        lineage = read_lineage(run)
        return lineage["model"]["parameters"] if lineage.get("kind") == "import" else None
    except RunError:
        return None
