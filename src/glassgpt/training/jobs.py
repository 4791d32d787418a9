"""The parts of a training, and the one place that builds them from settings.

Pretraining and every kind of fine-tuning use it, so a setting has the same effect in all of them: device, threads and
precision, compiling, recomputed activations, the optimizer. `choices.settled` has decided before what the settings
left open.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import warnings
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
from glassgpt.training.listening import Audience
from glassgpt.training.losses import LossFunction, next_token_loss
from glassgpt.training.optimizers import make_optimizer
from glassgpt.training.state import TrainerState

Config = TypeVar("Config", bound=LoopConfig)


class BatchSource(Protocol):
    """What the data must provide: the batch of a step, and the length of an epoch."""

    @property
    def steps_per_epoch(self) -> float:
        """Batches in one pass over the data."""
        ...

    @property
    def tokens_per_batch(self) -> int:
        """Tokens in one batch of this process."""
        ...

    def at(self, step: int) -> tuple[Tensor, ...]:
        """Return the tensors that the loss gets beside the model, the same ones for the same step.

        The first tensor holds token ids (B, T), which are counted; pretraining has inputs and targets (B, T). A source
        may use the model, as reinforcement does: then the same step and the same weights give the same batch.
        """
        ...


class EvaluationResult(Protocol):
    """What an evaluation must provide."""

    @property
    def loss(self) -> float:
        """Mean nats per token."""
        ...

    @property
    def perplexity(self) -> float | None:
        """exp(loss), where the loss measures the prediction of text."""
        ...

    @property
    def bits_per_byte(self) -> float | None:
        """The loss in bits per UTF-8 byte of text."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """Further numbers by name."""
        ...


@dataclass
class Job:
    """One training: the model, its data, and its listeners."""

    model: GPT
    optimizer: Optimizer
    batches: BatchSource
    config: LoopConfig
    steps: int
    evaluate: Callable[[], EvaluationResult]
    save: Callable[[TrainerState, bool], object]  # (state, is it the best?)
    sample: Callable[[int], Sequence[str]] | None = None
    metrics: Callable[[], dict[str, float]] = dict
    """Further numbers of the updates since the last call, such as their mean reward."""
    records: Sequence[Listener] = ()
    """Listeners whose failure ends the training, because a run without them could not be continued."""
    listeners: Sequence[Listener] = ()
    """All others: a failure is said once, and the training continues."""
    say: Callable[[str], None] = warnings.warn
    stop: Callable[[], bool] = lambda: False
    loss: LossFunction = next_token_loss
    """The mean over what counts in a batch."""
    counted: Callable[[Sequence[Tensor]], int] | None = None
    """How many items count in a batch, at least 1; None where every batch of every process has the same number."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    world: World = field(default_factory=World)
    watch: ThreadWatch | SlownessWatch | None = None
    """May change the number of CPU threads between updates; None keeps it."""

    def tell(self, event: Event) -> None:
        """Send one event to every listener. Only the main process has listeners."""
        for record in self.records:
            record(event)
        self._audience(event)

    @functools.cached_property
    def _audience(self) -> Audience:
        return Audience(self.listeners, self.say)


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
    """Return the job of training `model`, which is on `device`, as `config` says.

    `parts` are the other fields of a `Job`: batches, steps, evaluate, save and so on. `say` gets a line when something
    requested is not possible here.
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
        say=say,
        **parts,
    )


def compiled_if_possible(training: Config, device: torch.device, say: Callable[[str], None]) -> Config:
    """Return the settings, with compiling turned off where there is no compiler; `say` gets a line about it."""
    if not training.compile or can_compile(device):
        return training
    say("There is no C++ compiler here, so the model is not compiled: the same result, a little slower.")
    return dataclasses.replace(training, compile=False)
