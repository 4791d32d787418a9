"""Where a plan will run: device, precision, threads and free memory, as measured on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from glassgpt.device import pick_device
from glassgpt.machine.facts import free_memory
from glassgpt.model.config import ModelConfig
from glassgpt.training.choices import choose
from glassgpt.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a plan will run."""

    device: torch.device
    precision: torch.dtype
    threads: int
    memory_bytes: int
    """Memory of the device that is free now."""


def this_machine(
    model: ModelConfig, training: TrainingConfig, say: Callable[[str], None] = lambda _: None
) -> Machine:
    """Return the device of a config, its free memory, and the threads and precision that suit a model."""
    device = pick_device(training.device)
    choice = choose(model, training, device, say=say)
    return Machine(device, choice.precision, choice.threads, free_memory(device))
