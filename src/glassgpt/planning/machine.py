"""How fast this machine trains: a few real updates of a real model, timed.

Nothing is guessed from the name of a processor. Whether a second thread helps, whether bfloat16 is quick or
hundreds of times slow, whether compiling pays: each is tried on the model that it is about.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from glassgpt.device import available_cores, pick_device, pick_precision
from glassgpt.evaluation.loss import Evaluation
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.training.config import TrainingConfig
from glassgpt.training.optimizers import make_optimizer
from glassgpt.training.state import Progress
from glassgpt.training.trainer import Job, compile_blocks, update


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a plan will run."""

    device: torch.device
    precision: torch.dtype
    threads: int
    memory_bytes: int
    """Memory of the device that is free now."""


def this_machine(config: TrainingConfig) -> Machine:
    """Return the device that a config asks for, its free memory, and the precision that is quick on it."""
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    return Machine(device, precision, config.threads or available_cores(), free_memory(device))


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be had on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def with_best_threads(machine: Machine, model: ModelConfig, training: TrainingConfig) -> Machine:
    """Return the machine with the number of threads that is fastest now: all, or half of them.

    Threads wait for each other, so on a machine that is busy with other work fewer may be many times faster.
    """
    if training.threads or machine.device.type != "cpu" or machine.threads == 1:
        return machine
    small = replace(training, batch_size=max(1, 512 // model.context_length))
    timed = {
        count: seconds_per_update(machine, model, replace(small, threads=count), updates=1)
        for count in (machine.threads, machine.threads // 2)
    }
    return replace(machine, threads=min(timed, key=lambda count: timed[count]))


def seconds_per_update(
    machine: Machine, model: ModelConfig, training: TrainingConfig, *, updates: int = 2
) -> float:
    """Return the least seconds of an update with this model and batch on random ids, after an uncounted one.

    The least, not the mean: what else the machine does in passing should not count against a shape.

    The random generators and the number of threads are left as they were.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[machine.device] if machine.device.type == "cuda" else []):
        try:
            torch.set_num_threads(training.threads or machine.threads)
            return _timed_updates(make_job(machine, model, training), updates)
        finally:
            torch.set_num_threads(threads)


def _timed_updates(job: Job, updates: int) -> float:
    progress, seconds = Progress(steps=job.steps), []
    for _ in range(updates + 1):
        began = time.perf_counter()
        loss, _ = update(job, progress)
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def make_job(machine: Machine, config: ModelConfig, training: TrainingConfig) -> Job:
    """Return a training of a new model on one batch of random ids, to be timed."""
    torch.manual_seed(0)
    model = GPT(config).to(machine.device).train()
    model.checkpoint_activations = training.checkpoint_activations
    if training.compile:
        compile_blocks(model)
    return Job(
        model=model,
        optimizer=make_optimizer(model, training),
        batches=_OneBatch(torch.randint(config.vocab_size, (training.batch_size, config.context_length + 1))),
        config=replace(training, accumulate=1),
        steps=1000,
        evaluate=lambda: Evaluation(0.0, 1, 1.0),
        save=lambda _state, _best: None,
        device=machine.device,
        precision=machine.precision,
    )


@dataclass(frozen=True)
class _OneBatch:
    """The same ids at every step."""

    ids: Tensor
    steps_per_epoch: float = 1.0

    @property
    def tokens_per_batch(self) -> int:
        return self.ids.shape[0] * (self.ids.shape[1] - 1)

    def at(self, step: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return self.ids[:, :-1].contiguous(), self.ids[:, 1:].contiguous()
