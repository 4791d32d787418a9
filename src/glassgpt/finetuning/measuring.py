"""A fine-tuned run measured again by its kind's own measure, on the examples that it was not trained on.

Which examples were held out follows from the base, the data and the settings, all of which the run records. So the
task is built again as for a resume, and gets the run's final weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from glassgpt.adapters.lora import merge
from glassgpt.commands import command
from glassgpt.device import World
from glassgpt.errors import EvaluationError
from glassgpt.finetuning.building import kind_task, language_model
from glassgpt.finetuning.choice import find_data, is_unchanged, read_choice
from glassgpt.finetuning.comparison import numbers
from glassgpt.finetuning.start import make_start
from glassgpt.finetuning.task import HEAD, Task
from glassgpt.model.int8 import quantize
from glassgpt.runs.checkpoints import read_tensors
from glassgpt.runs.opening import Run, Weights, find_base, open_run


@dataclass(frozen=True)
class HeldOut:
    """The figures of a fine-tuned run on its held-out examples, by the names that its comparison has."""

    kind: str
    examples: int
    numbers: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures under the names that `glassgpt eval --json` gives them."""
        figures = {name.replace(" ", "_"): value for name, value in self.numbers.items()}
        return {"kind": self.kind, "examples": self.examples, **figures}


def measure_held_out(run: Run, moved: Sequence[str] = (), weights: Weights = "as-saved") -> HeldOut:
    """Measure an opened fine-tuned run on its held-out examples; `moved` says where its data is now.

    Raises `RunError` for a base or data that cannot be found, and `EvaluationError` for data that has changed.
    """
    directory, lineage = run.directory, run.lineage
    choice = find_data(directory, read_choice(directory), lineage, moved, ask="eval")
    if not is_unchanged(directory, lineage, choice):
        raise EvaluationError(
            f"The data of {directory.name} has changed since the run began, so its held-out examples are not known any "
            f"more. Put the original files back, or measure it on a text:  {command('eval', directory.handle, 'TEXT')}"
        )
    device = run.model.token_embedding.weight.device
    base = open_run(str(find_base(directory, lineage).path))
    start = make_start(base, choice.data, choice.config, device=device, world=World(), say=lambda _: None)
    task = kind_task(start, choice)
    # Rounded weights cannot be taken over: the exact ones are rounded after that.
    _take_weights(task, run if weights == "as-saved" else open_run(str(directory.path), device=device))
    if weights == "int8":
        quantize(language_model(task))
    held = task.data["splits"].get("validation", {}).get("documents", 0)
    return HeldOut(choice.kind, held, numbers(task.evaluate()))


@torch.no_grad()
def _take_weights(task: Task, run: Run) -> None:
    """Give a task the weights of a finished run, in which a LoRA adapter is merged already."""
    model = merge(language_model(task))
    model.load_state_dict(run.model.state_dict())
    beside = task.tensors()
    if beside:
        saved = read_tensors(run.directory.path / HEAD)
        for name, tensor in beside.items():
            tensor.copy_(saved[name])
