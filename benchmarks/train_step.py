"""One training step of the notebooks' model: the same shape, batch and loss, by textbook PyTorch and by GlassGPT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import alternate, fresh, peak_memory
from benchmarks.peers import notebook
from benchmarks.report import Figure


def run(quick: bool) -> list[Figure]:
    """Return step time and memory, the peer's first."""
    rounds = 2 if quick else 9
    seconds = fresh(_step_seconds, rounds).value
    peaks = {name: fresh(_step_memory, name, 1 if quick else 3).value for name in ("peer", "ours")}
    faster, smaller = seconds["peer"] / seconds["ours"], peaks["peer"] / peaks["ours"]
    return [
        Figure(
            "a step of the `notebook` model, 2,048 tokens, against textbook PyTorch: time",
            f"{seconds['ours']:.2f} s",
            f"{seconds['peer']:.2f} s",
            faster,
            "at least 3x",
            None if quick else faster >= 3,
        ),
        Figure(
            "the same: peak memory of the process beyond what its imports take",
            f"{peaks['ours'] / 1e6:,.0f} MB",
            f"{peaks['peer'] / 1e6:,.0f} MB",
            smaller,
            "at most a third",
            None if quick else smaller >= 3,
        ),
    ]


def _step_seconds(rounds: int) -> dict[str, float]:
    """Time both in turn in one process, all cores."""
    return alternate({name: stepper(name) for name in ("peer", "ours")}, rounds=rounds)


def _step_memory(name: str, steps: int) -> int:
    """Return the bytes by which some steps raise the peak of this process."""
    before = peak_memory()
    step = stepper(name)
    for _ in range(steps):
        step()
    return peak_memory() - before


def stepper(name: str) -> Any:
    """Return a function that makes one update of "peer" or "ours" on a fixed batch of random ids."""
    torch.manual_seed(0)
    ids = torch.randint(notebook.VOCABULARY, (notebook.BATCH, notebook.CONTEXT + 1))
    return (_peer if name == "peer" else _ours)(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())


def _peer(inputs: Tensor, targets: Tensor) -> Any:
    model = notebook.NotebookModel()
    optimizer = notebook.make_optimizer(model)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        notebook.loss_of(model, inputs, targets).backward()
        optimizer.step()

    return step


def _ours(inputs: Tensor, targets: Tensor) -> Any:
    from glassgpt.model.gpt import GPT
    from glassgpt.model.presets import get_preset
    from glassgpt.pretraining.recipes import read_recipe
    from glassgpt.training.config import TrainingConfig
    from glassgpt.training.optimizers import make_optimizer
    from glassgpt.training.state import Progress
    from glassgpt.training.trainer import Job, update

    class OneBatch:
        steps_per_epoch = 1.0
        tokens_per_batch = 1

        def at(self, _step: int) -> tuple[Tensor, Tensor]:
            return inputs, targets

    config = TrainingConfig(**read_recipe("notebook")["training"])
    model = GPT(replace(get_preset("notebook"), dropout=notebook.DROPOUT)).train()
    job: Any = Job(
        model=model,
        optimizer=make_optimizer(model, config),
        batches=OneBatch(),
        config=config,
        steps=config.steps,
        evaluate=lambda: None,  # pyright: ignore[reportArgumentType]
        save=lambda _state, _best: None,
    )
    progress = Progress(steps=config.steps)
    return lambda: update(job, progress)
