"""A few timed real updates of a model on random ids: the basis of every choice about training speed.

Nothing is concluded from the name of a processor or from a product of two matrices. Whether a second thread helps,
whether bfloat16 is fast or hundreds of times slower, whether compiling pays: each is tried with the same update that
the loop will make.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from glassgpt.device import threads_set
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.training.config import LoopConfig
from glassgpt.training.jobs import Job, make_job
from glassgpt.training.state import Progress
from glassgpt.training.trainer import compile_blocks, update

STEADY = 1.05
"""Updates are timed until the two fastest are this close."""
MOST_UPDATES = 8


def trial_job(model: ModelConfig, training: LoopConfig, device: torch.device, precision: torch.dtype) -> Job:
    """Return a training of a new model on one batch of random ids. Accumulation is left out."""
    torch.manual_seed(0)
    made = GPT(model).to(device).train()
    if training.compile:
        compile_blocks(made)
    job = make_job(
        replace(training, accumulate=1),
        made,
        device=device,
        say=lambda _: None,
        batches=OneBatch(torch.randint(model.vocab_size, (training.batch_size, model.context_length + 1))),
        steps=1000,
        evaluate=_never,
        save=_never,
    )
    return replace(job, precision=precision)


def updates_of(job: Job, *, threads: int = 0, precision: torch.dtype | None = None) -> Callable[[], float]:
    """Return a function that makes one update of a trial, waits for it, and returns its loss.

    Several such functions may share a job and therefore its memory: they continue with the same weights. `threads` and
    `precision` come from the job's settings where they are not given.
    """
    progress = Progress(steps=job.steps)
    job = job if precision is None else replace(job, precision=precision)

    def run() -> float:
        with threads_set(threads or job.config.threads):
            loss, _ = update(job, progress)
            return loss.item()  # waits for the device

    return run


def steady_seconds(run: Callable[[], object], *, most: int = MOST_UPDATES, seconds: float = 4.0) -> float:
    """Return the seconds of the fastest call, after an uncounted first one, once the two fastest calls agree.

    The fastest, not the mean, because other work of the machine should not count against a shape. One fast call may be
    luck, so calls continue until the two fastest agree or time is up.
    """
    run()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < most and (len(times) < 2 or time.perf_counter() - began < seconds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
        first, *rest = sorted(times)
        if rest and rest[0] <= STEADY * first:
            break
    return min(times)


@contextlib.contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Restore the random generators and the number of threads after the block."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class OneBatch:
    """The same ids (B, T + 1) at every step."""

    ids: Tensor
    steps_per_epoch: float = 1.0

    @property
    def tokens_per_batch(self) -> int:
        """Tokens of the batch."""
        return self.ids.shape[0] * (self.ids.shape[1] - 1)

    def at(self, step: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return inputs and targets (B, T)."""
        return self.ids[:, :-1].contiguous(), self.ids[:, 1:].contiguous()


def _never(*_: Any) -> NoReturn:
    raise AssertionError("a trial neither evaluates nor saves")
