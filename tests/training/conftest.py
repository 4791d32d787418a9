"""A bench to train on: a tiny GPT, real batches with structure, and a record of everything that happens."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from glassgpt.dataset.batches import Batches
from glassgpt.dataset.shards import TokenSplit
from glassgpt.device import seed_everything
from glassgpt.evaluation.loss import Evaluation
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.training.config import TrainingConfig
from glassgpt.training.events import Event, TrainingFinished
from glassgpt.training.jobs import Job
from glassgpt.training.optimizers import make_optimizer
from glassgpt.training.state import Progress, TrainerState
from glassgpt.training.trainer import train

VOCABULARY, CONTEXT = 17, 12
DEFAULTS = {"steps": 10, "batch_size": 4, "warmup_steps": 2, "evaluate_every": 1000, "learning_rate": 1e-2}


def rhythmic_split(length: int = 600) -> TokenSplit:
    """Ids that mostly follow from the one before: something that can be learned."""
    draws = np.random.default_rng(0)
    ids = [0]
    for _ in range(length - 1):
        ids.append(int((3 * ids[-1] + 1 + (draws.random() < 0.2)) % VOCABULARY))
    row = np.array(ids, "<u2")
    return TokenSplit("train", (row,), np.array([0, length]), text_bytes=length, documents=1)


@dataclass
class Bench:
    """A job, and what it said and saved."""

    job: Job
    events: list[Event] = field(default_factory=list)
    saved: list[tuple[TrainerState, bool]] = field(default_factory=list)

    @property
    def model(self) -> GPT:
        assert isinstance(self.job.model, GPT)
        return self.job.model

    def train(self, progress: Progress | None = None) -> TrainingFinished:
        return train(self.job, progress)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


def make_bench(
    *,
    job: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    double: bool = False,
    **training: Any,
) -> Bench:
    """Build a job from settings of the training, of the model, and of the job itself.

    Unless the job says otherwise, its evaluation never improves, so it saves only at the end.
    """
    config = TrainingConfig(**{**DEFAULTS, **training})
    seed_everything(config.seed)
    shape = {"vocab_size": VOCABULARY, "context_length": CONTEXT, "n_layer": 2, "n_head": 2, "n_embd": 16}
    net = GPT(ModelConfig(**{**shape, **(model or {})}))
    net = net.double() if double else net
    net.checkpoint_activations = config.checkpoint_activations
    rows = {"seed": config.seed, "order": config.order, "stride": config.stride}
    bench = Bench(
        Job(
            model=net,
            optimizer=make_optimizer(net, config),
            batches=Batches(rhythmic_split(), CONTEXT, config.batch_size, **rows),
            config=config,
            steps=config.steps,
            evaluate=lambda: Evaluation(float("inf"), 1, 1.0),
            save=lambda state, best: bench.saved.append((copy.deepcopy(state), best)),
        )
    )
    bench.job.listeners = [bench.events.append]
    for name, value in (job or {}).items():
        setattr(bench.job, name, value)
    return bench


@pytest.fixture
def bench() -> Callable[..., Bench]:
    return make_bench
