"""What a training is made of, and the one place that turns settings into it.

Pretraining and every kind of fine-tuning come by here, so that a setting does for all of them what it does for
one: device, threads and precision, compiling, activations that are computed twice, the optimizer. What is left open
in the settings is decided before, by `choices.settled`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from glassgpt.device import (
    World,
    can_compile,
    dtype_of,
    pick_device,
    set_threads,
    world_from_environment,
)
from glassgpt.machine.watch import SlownessWatch, ThreadWatch
from glassgpt.model.gpt import GPT
from glassgpt.training import distributed
from glassgpt.training.config import LoopConfig
from glassgpt.training.events import Event, Listener
from glassgpt.training.losses import LossFunction, next_token_loss
from glassgpt.training.optimizers import make_optimizer
from glassgpt.training.state import TrainerState

Config = TypeVar("Config", bound=LoopConfig)


class BatchSource(Protocol):
    """What is asked of the data: the batch of a number, and how long an epoch is."""

    @property
    def steps_per_epoch(self) -> float:
        """Batches in one pass over the data."""
        ...

    @property
    def tokens_per_batch(self) -> int:
        """Tokens of one batch of this process."""
        ...

    def at(self, step: int) -> tuple[Tensor, ...]:
        """Return what the loss is given beside the model, the same each time it is asked.

        The first is token ids (B, T), which are counted; in pretraining inputs and targets (B, T). A source may
        look at the model, as reinforcement does: then the same step and the same weights give the same batch.
        """
        ...


class EvaluationResult(Protocol):
    """What is asked of an evaluation."""

    @property
    def loss(self) -> float:
        """Mean nats a token."""
        ...

    @property
    def perplexity(self) -> float | None:
        """exp(loss), where the loss is about predicting text."""
        ...

    @property
    def bits_per_byte(self) -> float | None:
        """The loss in bits for each UTF-8 byte of text."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """Further numbers by name."""
        ...


@dataclass
class Job:
    """One training: what is trained, on what, and whom to tell."""

    model: GPT
    optimizer: Optimizer
    batches: BatchSource
    config: LoopConfig
    steps: int
    evaluate: Callable[[], EvaluationResult]
    save: Callable[[TrainerState, bool], object]  # (state, is it the best?)
    sample: Callable[[int], Sequence[str]] | None = None
    numbers: Callable[[], dict[str, float]] = dict
    """Further numbers of the updates since it was last asked, such as their mean reward."""
    listeners: Sequence[Listener] = ()
    stop: Callable[[], bool] = lambda: False
    loss: LossFunction = next_token_loss
    """The mean over what counts in a batch."""
    counted: Callable[[Sequence[Tensor]], int] | None = None
    """How much counts in a batch, at least 1; None where that is the same for every batch of every process."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    world: World = field(default_factory=World)
    watch: ThreadWatch | SlownessWatch | None = None
    """What may change the number of CPU threads between updates; None keeps it."""

    def tell(self, event: Event) -> None:
        """Send one event to every listener. Only the main process has listeners."""
        for listener in self.listeners:
            listener(event)


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
