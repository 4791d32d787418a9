"""The events that the loop sends. Listeners (progress bar, files, plots, trackers) only read them.

An event is a small frozen dataclass of plain numbers and strings; `metrics.jsonl` holds one per line, with its kind.
Losses are mean nats per token; times are seconds since training first began, resumes included. `metrics` are further
numbers by name, such as rewards or accuracies, where a kind of training has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class TrainingStarted:
    """The loop begins, or continues after a resume at `step`."""

    step: int
    steps: int
    parameters: int
    tokens_per_step: int
    steps_per_epoch: float
    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class StepsFinished:
    """Some updates were made. `loss` is their mean loss; the other values are those of the last one."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int
    tokens_per_second: float
    seconds: float
    steps: int = 0
    """Total number of updates as now expected; 0 in the files of older runs."""
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The validation loss was measured. `best` says whether it is the lowest so far.

    Perplexity and bits per byte are None where the loss is not about predicting text.
    """

    step: int
    loss: float
    perplexity: float | None
    bits_per_byte: float | None
    best: bool
    tokens: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sampled:
    """The model wrote a sample."""

    step: int
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Noted:
    """A sentence that a reader of the run should know, such as a change of the number of threads."""

    step: int
    text: str


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """Everything needed to continue from `step` is on the disk."""

    step: int
    best: bool


@dataclass(frozen=True, slots=True)
class TrainingFinished:
    """The loop ended: "finished", "interrupted", or "no improvement"."""

    step: int
    reason: str
    best_loss: float
    best_step: int
    seconds: float


Event = TrainingStarted | StepsFinished | Evaluated | Sampled | Noted | CheckpointSaved | TrainingFinished
Listener = Callable[[Event], None]

KINDS: dict[str, type] = {
    "started": TrainingStarted,
    "step": StepsFinished,
    "evaluation": Evaluated,
    "sample": Sampled,
    "note": Noted,
    "checkpoint": CheckpointSaved,
    "finished": TrainingFinished,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return the event as plain values, its kind first."""
    return {"event": _NAMES[type(event)], **dataclasses.asdict(event)}


def event_from_dict(values: dict[str, Any]) -> Event:
    """Rebuild an event from `event_to_dict`'s result; unknown keys are ignored.

    Raises `KeyError` on an unknown kind, `ValueError` when a value is missing or of the wrong type.
    """
    return msgspec.convert(values, KINDS[values["event"]])
