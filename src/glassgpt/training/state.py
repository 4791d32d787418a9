"""Everything that decides how training continues, captured from live objects and restored.

A `TrainerState` is what a checkpoint stores: tensors by name and plain numbers, without pickle. It holds the weights,
the optimizer's moments, the step (which is also the place in the data, see `dataset/batches.py`), the best loss so
far, and the state of every random generator.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from glassgpt.errors import ModelError


@dataclass
class Progress:
    """How far training has come. `step` updates are done; the next batch is number `step`."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    best_step: int = 0
    saved_at: int = -1
    evaluations_since_best: int = 0
    steps: int = 0
    """Total number of updates; 0 before the loop has begun."""
    paced_at: int = 0
    """The update at which `steps` was last estimated (see `pace`), and its place on the schedule."""
    paced_place: float = 0.0
    threads: int = 0
    """CPU threads of a paced run, which may change them; 0 in other runs."""

    def note_evaluation(self, loss: float) -> bool:
        """Remember a validation loss; return whether it is the best so far."""
        best = loss < self.best_loss
        if best:
            self.best_loss, self.best_step, self.evaluations_since_best = loss, self.step, 0
        else:
            self.evaluations_since_best += 1
        return best


STATE_VERSION = 2
"""1: the optimizer's tensors are keyed by the numbers of weights; 2: by their names."""


@dataclass
class TrainerState:
    """The content of a checkpoint: three sets of tensors and plain values.

    The optimizer's tensors are keyed `NAME.SLOT`, such as `head.weight.exp_avg`, whatever order its groups have.
    """

    progress: Progress
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    random: dict[str, Tensor]
    plain: dict[str, Any] = field(default_factory=dict)
    version: int = STATE_VERSION


def capture(model: nn.Module, optimizer: Optimizer, progress: Progress) -> TrainerState:
    """Take a snapshot. The model's and optimizer's tensors are referred to, not copied.

    Frozen weights (those without a gradient) are left out: the code that froze them knows where they come from.
    """
    tensors, python_state = random_state(_device(model))
    frozen, names = _frozen(model), _optimized(model, optimizer)
    return TrainerState(
        progress=dataclasses.replace(progress),
        model={name: tensor for name, tensor in model.state_dict().items() if name not in frozen},
        optimizer={
            f"{names[index]}.{slot}": torch.as_tensor(value)
            for index, slots in optimizer.state_dict()["state"].items()
            for slot, value in slots.items()
        },
        random=tensors,
        plain=python_state,
    )


def restore(state: TrainerState, model: nn.Module, optimizer: Optimizer) -> Progress:
    """Restore a snapshot into objects built from the same config; return its progress.

    The optimizer may take over the snapshot's tensors and change them, so restore a snapshot only once.
    """
    missing, unexpected = model.load_state_dict(state.model, strict=False)
    if unexpected or set(missing) - _frozen(model):
        raise ModelError(
            "The checkpoint holds other weights than this model has: "
            f"{', '.join([*unexpected, *(name for name in missing if name not in _frozen(model))][:3])} ..."
        )
    names = _optimized(model, optimizer)
    numbers = {name: number for number, name in enumerate(names)}
    slots: dict[int, dict[str, Tensor]] = {}
    for key, tensor in state.optimizer.items():
        weight, _, slot = key.rpartition(".")
        number = int(weight) if state.version == 1 else numbers[weight]
        slots.setdefault(number, {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    set_random_state(state.random, state.plain, _device(model))
    return dataclasses.replace(state.progress)


def random_state(device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state of torch's (CPU and `device`), NumPy's and Python's generators: tensors, plain values.

    All ranks use the same seed and draw the same numbers, so the state of one rank's device is right for all.
    """
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    version, internal, gauss_next = random.getstate()
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "python": torch.tensor(internal, dtype=torch.int64),
    }
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        tensors["mps"] = torch.mps.get_rng_state()
    plain = {
        "numpy": [str(kind), int(position), int(has_gauss), float(gauss)],
        "python": [version, gauss_next],
    }
    return tensors, plain


def set_random_state(tensors: dict[str, Tensor], plain: dict[str, Any], device: torch.device) -> None:
    """Restore what `random_state` returned; the state of another kind of device is ignored."""
    kind, position, has_gauss, gauss = plain["numpy"]
    version, gauss_next = plain["python"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    random.setstate((version, tuple(tensors["python"].tolist()), gauss_next))
    torch.set_rng_state(tensors["torch"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)
    elif device.type == "mps" and "mps" in tensors:
        torch.mps.set_rng_state(tensors["mps"])


def _optimized(model: nn.Module, optimizer: Optimizer) -> list[str]:
    """Return the names of an optimizer's weights in the order in which it numbers them."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    return [names[id(weight)] for group in optimizer.param_groups for weight in group["params"]]


def _frozen(model: nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if not weight.requires_grad}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
