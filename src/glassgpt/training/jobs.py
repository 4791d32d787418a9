"""From settings to a running job: the one place that turns a training config into live objects.

Pretraining and every kind of fine-tuning come by here, so that a setting does for all of them what it does for
one: device, threads and precision, compiling, activations that are computed twice, the optimizer. What is left open
in the settings is decided before, by `choices.settled`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from glassgpt.device import (
    World,
    can_compile,
    dtype_of,
    pick_device,
    set_threads,
    world_from_environment,
)
from glassgpt.model.gpt import GPT
from glassgpt.training import distributed
from glassgpt.training.config import LoopConfig
from glassgpt.training.optimizers import make_optimizer
from glassgpt.training.trainer import Job

Config = TypeVar("Config", bound=LoopConfig)


@contextlib.contextmanager
def workplace(config: LoopConfig) -> Iterator[tuple[World, torch.device]]:
    """Set threads, device and process group for the time of a training."""
    world = world_from_environment()
    set_threads(config.threads, processes=world.local_size)
    device = pick_device(config.device, world)
    with distributed.process_group(world, device):
        yield world, device


def make_job(
    config: LoopConfig,
    model: nn.Module,
    *,
    device: torch.device,
    say: Callable[[str], None],
    **parts: Any,
) -> Job:
    """Return the job of training `model`, which lies on `device`, as `config` says.

    `parts` are the other fields of a `Job`: batches, steps, evaluate, save and so on. `say` is told when something
    that was asked for cannot be done here.
    """
    config = compiled_if_possible(config, device, say)
    for module in model.modules():
        if isinstance(module, GPT):
            module.checkpoint_activations = config.checkpoint_activations
    trained: Any = model
    return Job(
        model=trained,
        optimizer=make_optimizer(trained, config),
        config=config,
        device=device,
        precision=dtype_of(config.precision),
        **parts,
    )


def compiled_if_possible(training: Config, device: torch.device, say: Callable[[str], None]) -> Config:
    """Return the settings, without compiling where nothing here could; that is said."""
    if not training.compile or can_compile(device):
        return training
    say("There is no C++ compiler here, so the model is not compiled: the same result, a little slower.")
    return dataclasses.replace(training, compile=False)
