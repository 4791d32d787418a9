"""What the files of a run say about it, as `glassgpt runs` shows it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glassgpt import config as configs
from glassgpt.errors import GlassGPTError, RunError
from glassgpt.runs.directory import RunDirectory, last_change
from glassgpt.runs.facts import Lineage
from glassgpt.runs.reading import read_comparison, read_config, read_confusion, read_lineage
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
    changed: float = 0.0
    """When its metrics or its config changed last, in seconds since 1970."""
    size: int = 0
    """Bytes of all its files."""
    note: str = ""
    kind: str = ""
    text: tuple[str, ...] = ()
    """The hashes of its text: losses on different texts are not comparable."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Every setting by its dotted name."""


def duration(seconds: float) -> str:
    """Return a time as a person would write it: 42 s, 12 min, 3 h 20 min."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(slots=True)
class HowFar:
    """What the events say about how far a run is, collected while reading: a run may have a million."""

    started: TrainingStarted | None = None
    last: StepsFinished | None = None
    best: Evaluated | None = None
    finished: TrainingFinished | None = None
    step: int = 0
    seconds: float = 0.0
    damaged: str | None = None

    @property
    def steps(self) -> int | None:
        """The number of updates that are planned."""
        return (self.last.steps if self.last else None) or (self.started.steps if self.started else None)

    def take(self, event: Event) -> None:
        """Note one more event."""
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


def how_far(events: Iterable[Event]) -> HowFar:
    """Return what some events say about how far a run is."""
    found = HowFar()
    for event in events:
        found.take(event)
    return found


def summarize(run: RunDirectory) -> RunSummary:
    """Read the metrics of a run into a summary. Its state names damaged files; nothing is raised."""
    progress, described = _progress(run), _description(run)
    started, last, best, finished = progress.started, progress.last, progress.best, progress.finished
    lineage = described.lineage
    imported = lineage.model.parameters if lineage and lineage.is_imported and not started else None
    reason = finished.reason if finished else "imported" if imported else "unfinished"
    return RunSummary(
        name=run.name,
        parameters=started.parameters if started else imported,
        step=progress.step,
        steps=progress.steps,
        best_loss=best.loss if best else None,
        bits_per_byte=best.bits_per_byte if best else None,
        tokens=last.tokens if last else 0,
        seconds=progress.seconds,
        state=described.damaged or progress.damaged or reason,
        changed=last_change(run),
        size=size_of(run.path),
        note=read_note(run),
        kind=lineage.kind if lineage else "",
        text=tuple(lineage.data.fingerprints) if lineage and lineage.data else (),
        settings=described.settings,
    )


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder. What cannot be read, or is being removed, counts as nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError, ValueError):
                total += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118 - thousands of files
    return total


def read_note(run: RunDirectory) -> str:
    """Return what a person noted about a run, "" where there is no note."""
    try:
        return run.note.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


@dataclass(slots=True)
class _Description:
    """What the files of a run other than the metrics say, and the first of them that cannot be used."""

    settings: dict[str, Any] = field(default_factory=dict)
    lineage: Lineage | None = None
    damaged: str | None = None


def _description(run: RunDirectory) -> _Description:
    found = _Description()
    unborn = not (run.lineage.exists() or run.checkpoints.exists() or run.weights.exists())
    path = run.config
    try:
        found.settings = flat(configs.to_dict(read_config(run)))
        path = run.lineage
        if not unborn:
            found.lineage = read_lineage(run)
        path = run.finetune
        if path.exists():
            values = configs.read_toml(path)
            found.settings |= flat(values) | {"kind": values["kind"]}
        for path, read in ((run.comparison, read_comparison), (run.confusion_counts, read_confusion)):
            if path.exists():
                read(run)
    except (GlassGPTError, KeyError):
        found.damaged = f"damaged: {path.name}"
    return found


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the settings of all sections by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return found


def _progress(run: RunDirectory) -> HowFar:
    progress, lines, checkpoint = HowFar(), 0, _newest(run)
    try:
        for line in read_lines(run.metrics):
            lines += line.is_damaged
            if line.event is not None:
                if checkpoint is not None and checkpoint.contradicts(line.event):
                    return HowFar(damaged=f"{run.metrics.name} belongs to another run")
                progress.take(line.event)
    except RunError:
        return HowFar(damaged=f"damaged: {run.metrics.name}")
    if lines:
        progress.damaged = f"damaged: {run.metrics.name} ({lines} line{'s' if lines > 1 else ''})"
    return progress


def _newest(run: RunDirectory) -> Reached | None:
    """Return what the newest checkpoint states, or None where none can be read."""
    try:
        return reached(max(run.checkpoints.glob("step-*/")))
    except (OSError, ValueError):
        return None
