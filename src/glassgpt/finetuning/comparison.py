"""Before and after, side by side: the base and the fine-tuned model, as numbers and as samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glassgpt import files
from glassgpt.finetuning.task import Measured, Sample, Task
from glassgpt.runs.directory import RunDirectory


@dataclass(frozen=True)
class State:
    """The numbers and samples of a model at one time."""

    measured: Measured
    samples: Sequence[Sample]


def look(task: Task) -> State:
    """Measure the model as it is now, and generate its samples."""
    return State(task.evaluate(), list(task.samples()))


def numbers(measured: Measured) -> dict[str, float]:
    """Return the numbers of an evaluation by their readable names."""
    known = {
        "held-out loss": measured.loss,
        "perplexity": measured.perplexity,
        "bits per byte": measured.bits_per_byte,
    }
    if "reward" in measured.metrics:  # the loss is its negative
        known = {}
    return {name: value for name, value in {**known, **measured.metrics}.items() if value is not None}


def compare(before: State, after: State) -> dict[str, Any]:
    """Return both states as plain values: numbers as (before, after) by name, samples with both texts."""
    later = numbers(after.measured)
    return {
        "numbers": {
            name: [value, later[name]] for name, value in numbers(before.measured).items() if name in later
        },
        "samples": [
            {"prompt": old.prompt, "before": old.text, "after": new.text, "ended": new.ended}
            for old, new in zip(before.samples, after.samples, strict=True)
        ],
    }


def write_comparison(run: RunDirectory, before: State, after: State) -> None:
    """Write `comparison.json`, which the report shows."""
    files.write_json(run.comparison, compare(before, after))
