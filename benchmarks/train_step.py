"""One training step of the notebooks' model: the same shape, batch and loss, by textbook PyTorch and by GlassGPT.

It also measures whole trainings of a GPT-2, by the `Trainer` of transformers and by GlassGPT's loop: what a loop
costs beside the arithmetic that it repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.generate import SMALL
from benchmarks.measure import alternate, fresh, peak_memory
from benchmarks.peers import notebook, transformers_gpt2, transformers_trainer
from benchmarks.report import Figure
from glassgpt.evaluation.loss import Evaluation
from glassgpt.model.config import ModelConfig
from glassgpt.training.config import TrainingConfig
from glassgpt.training.jobs import make_job
from glassgpt.training.losses import next_token_loss
from glassgpt.training.trainer import train

WORDY = replace(SMALL, vocab_size=notebook.VOCABULARY, context_length=notebook.CONTEXT)


def run(quick: bool) -> list[Figure]:
    """Return step time and memory, the peer's first."""
    rounds = 2 if quick else 9
    seconds = fresh(_step_seconds, rounds).value
    peaks = {name: fresh(_step_memory, name, 1 if quick else 3).value for name in ("peer", "ours")}
    faster, smaller = seconds["peer"] / seconds["ours"], peaks["peer"] / peaks["ours"]
    return [
        *_loops(quick),
        Figure(
            "a step of the `notebook` model, 2,048 tokens, against textbook PyTorch: time",
            f"{seconds['ours']:.2f} s",
            f"{seconds['peer']:.2f} s",
            faster,
            "at least 3x",
            None if quick else faster >= 3,
        ),
        Figure(
            "the same: peak memory of the process beyond its imports",
            f"{peaks['ours'] / 1e6:,.0f} MB",
            f"{peaks['peer'] / 1e6:,.0f} MB",
            smaller,
            "at most a third",
            None if quick else smaller >= 3,
        ),
    ]


def _loops(quick: bool) -> list[Figure]:
    """Return an update's time within our loop and within that of transformers, for two vocabularies."""
    figures = []
    for name, config, batch_size, steps in (
        ("1M GPT-2", SMALL, 8, (10, 60)),
        ("GPT-2 of the notebooks' size and 50,257 words", WORDY, 32, (2, 8)),
    )[: 1 if quick else 2]:
        lengths, rounds = ((1, 3), 1) if quick else (steps, 5)
        seconds = fresh(_loop_seconds, config, batch_size, lengths, rounds).value
        figures.append(
            Figure(
                f"an update within a whole training, {name}, 2,048 tokens; `Trainer` of transformers",
                f"{seconds['ours'] * 1000:,.0f} ms",
                f"{seconds['peer'] * 1000:,.0f} ms",
                seconds["peer"] / seconds["ours"],
            )
        )
    return figures


def _step_seconds(rounds: int) -> dict[str, float]:
    """Time both alternately in one process, on all cores."""
    return alternate({name: stepper(name) for name in ("peer", "ours")}, rounds=rounds)


def _step_memory(name: str, steps: int) -> int:
    """Return the bytes that some steps add to this process's peak."""
    before = peak_memory()
    step = stepper(name)
    for _ in range(steps):
        step()
    return peak_memory() - before


def stepper(name: str) -> Callable[[], object]:
    """Return a function that makes one update of "peer" or "ours" on a fixed batch of random ids."""
    torch.manual_seed(0)
    ids = torch.randint(notebook.VOCABULARY, (notebook.BATCH, notebook.CONTEXT + 1))
    return (_peer if name == "peer" else _ours)(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())


def _peer(inputs: Tensor, targets: Tensor) -> Callable[[], object]:
    model = notebook.NotebookModel()
    optimizer = notebook.make_optimizer(model)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        notebook.loss_of(model, inputs, targets).backward()
        optimizer.step()

    return step


def _ours(inputs: Tensor, targets: Tensor) -> Callable[[], object]:
    from glassgpt.model.presets import get_preset
    from glassgpt.pretraining.recipes import read_recipe
    from glassgpt.training.config import TrainingConfig
    from glassgpt.training.state import Progress
    from glassgpt.training.trainer import update
    from glassgpt.training.trial import trial_job

    config = TrainingConfig(**read_recipe("notebook")["training"], precision="float32")
    model = replace(get_preset("notebook"), dropout=notebook.DROPOUT)
    job = trial_job(model, config, torch.device("cpu"), torch.float32)
    job.batches = Rows(torch.cat([inputs, targets[:, -1:]], dim=1), len(inputs))
    progress = Progress(steps=job.steps)
    return lambda: update(job, progress)


@dataclass(frozen=True)
class Rows:
    """Rows of ids (N, T + 1) in memory, as batches of `batch_size` rows, repeated endlessly."""

    ids: Tensor
    batch_size: int

    @property
    def steps_per_epoch(self) -> float:
        """Batches in one pass."""
        return len(self.ids) / self.batch_size

    @property
    def tokens_per_batch(self) -> int:
        """Tokens of one batch."""
        return self.batch_size * (self.ids.shape[1] - 1)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets (B, T)."""
        start = step * self.batch_size % len(self.ids)
        rows = self.ids[start : start + self.batch_size]
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def _loop_seconds(
    config: ModelConfig, batch_size: int, steps: tuple[int, int], rounds: int
) -> dict[str, float]:
    """Return seconds per update of the `Trainer` of transformers and of our loop: same weights, data, optimizer.

    Each trains whole runs of two lengths, alternately, with two threads; their difference excludes the start-up time.
    """
    torch.set_num_threads(2)
    torch.manual_seed(0)
    ids = torch.randint(config.vocab_size, (8 * batch_size, config.context_length))
    _refuse_another_loss(config, ids[:batch_size])
    runs = {
        (name, count): partial(train, config, ids, batch_size, count)
        for count in steps
        for name, train in (("peer", _train_peer), ("ours", _train_ours))
    }
    found = alternate({f"{name} {count}": run for (name, count), run in runs.items()}, rounds=rounds)
    few, many = steps
    return {
        name: (found[f"{name} {many}"] - found[f"{name} {few}"]) / (many - few) for name in ("peer", "ours")
    }


def _refuse_another_loss(config: ModelConfig, ids: Tensor) -> None:
    peer = transformers_gpt2.make(config)
    ours = transformers_gpt2.as_ours(peer, config)
    with torch.no_grad():
        theirs = peer(input_ids=ids, labels=ids).loss.item()
        assert abs(next_token_loss(ours, ids[:, :-1], ids[:, 1:]).item() - theirs) < 1e-3 * theirs


def _train_peer(config: ModelConfig, ids: Tensor, batch_size: int, steps: int) -> None:
    transformers_trainer.train(
        transformers_gpt2.make(config).train(), ids, batch_size=batch_size, steps=steps
    )


def _train_ours(config: ModelConfig, ids: Tensor, batch_size: int, steps: int) -> None:
    settings = TrainingConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=transformers_trainer.LEARNING_RATE,
        schedule="constant",
        warmup_steps=0,
        beta2=transformers_trainer.BETA2,
        weight_decay=transformers_trainer.WEIGHT_DECAY,
        clip=transformers_trainer.CLIP,
        evaluate_every=steps,
        precision="float32",
    )
    model = transformers_gpt2.as_ours(transformers_gpt2.make(config), config)
    finished = train(
        make_job(
            settings,
            model,
            device=torch.device("cpu"),
            say=print,
            batches=Rows(ids, batch_size),
            steps=steps,
            evaluate=lambda: Evaluation(0.0, 1, 1.0),
            save=lambda _state, _best: None,
        )
    )
    assert finished.step == steps
