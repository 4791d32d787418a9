"""The only loop. Pretraining and every kind of fine-tuning go through `train`.

It gets a model, a loss, batches, and a few callables for what it must not know about (how to evaluate, to sample, to
save). It reports what happens by events and decides nothing about files or screens. With several ranks, evaluating,
sampling and taking a snapshot are collective: every rank calls them, and the main one reports and writes. One
iteration of the loop:

    evaluate and sample when due -> save when due -> stop if asked -> one update -> report

so a checkpoint holds the state *before* the update of its step, but after its evaluation. A run that is resumed from
it does exactly what an uninterrupted run would have done.
"""

from __future__ import annotations

import contextlib
import importlib
import time
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from glassgpt.device import threads_set
from glassgpt.errors import NonFiniteLossError
from glassgpt.model.gpt import GPT
from glassgpt.training import distributed
from glassgpt.training.config import LoopConfig
from glassgpt.training.events import (
    CheckpointSaved,
    Evaluated,
    Noted,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
)
from glassgpt.training.jobs import Job
from glassgpt.training.optimizers import set_learning_rate
from glassgpt.training.pace import Pacer, place, repace
from glassgpt.training.schedules import learning_rate
from glassgpt.training.state import Progress, capture


def train(job: Job, progress: Progress | None = None) -> TrainingFinished:
    """Run the loop from `progress` (a fresh start when None) to the end, and return how it ended.

    Raises `NonFiniteLossError` before an update that would poison the weights. On a GPU, where the loop does not wait
    for the numbers, it does so before the next line of the log, and always before such weights are saved.
    """
    progress = progress or Progress()
    progress.steps = progress.steps or job.steps
    if job.config.compile:
        compile_blocks(job.model)
    clock = _Clock(progress)
    pacer = Pacer(job.config)
    log = _StepLog(job, progress, clock, pacer)
    job.tell(_started(job, progress))
    job.model.train()
    if job.watch and progress.threads:
        job.watch.current = progress.threads
    while True:
        began = time.perf_counter()
        resumed_here = progress.saved_at == progress.step  # evaluated, sampled and saved before it ended
        improved = not resumed_here and _evaluate_if_due(job, progress, clock)
        reason = _reason_to_stop(job, progress)
        kept = job.config.keeps_weights_of(progress.step, progress.steps)
        due = reason or improved or kept or _due(progress.step, job.config.checkpoint_interval)
        if due and not resumed_here:
            log.tell()  # a resumed run logs what comes after, so every update is logged exactly once
            _save(job, progress, clock, best=improved)
        if reason:
            break
        if due:
            pacer.note_pause(time.perf_counter() - began)
        began = time.perf_counter()
        with threads_set(job.watch.threads if job.watch else 0):
            loss, gradient_norm = update(job, progress)
        progress.step += 1
        elapsed = time.perf_counter() - began
        _watch_threads(job, progress, elapsed)
        log.add(loss, gradient_norm, elapsed)
    finished = TrainingFinished(
        progress.step, reason, progress.best_loss, progress.best_step, round(clock.seconds(), 3)
    )
    job.tell(finished)
    return finished


def _watch_threads(job: Job, progress: Progress, seconds: float) -> None:
    """Tell the watch how long an update took; report a change and keep it with the progress."""
    if job.watch is None:
        return
    job.watch.note(seconds)
    progress.threads = job.watch.current
    if job.watch.changed:
        job.tell(Noted(progress.step, job.watch.changed))
        job.watch.changed = None


def compile_blocks(model: GPT) -> None:
    """Compile the blocks in place with torch.compile; all of them share the code that is compiled once.

    A hook that is added to a part of a block later still runs: torch checks for such hooks only when asked to.
    """
    dynamo = importlib.import_module("torch._dynamo")  # takes a second, so only where it is needed
    dynamo.config.skip_nnmodule_hook_guards = False
    for block in model.blocks:
        block.compile()


def update(job: Job, progress: Progress) -> tuple[Tensor, Tensor]:
    """Make one optimizer update; return its mean loss and the norm of its gradients before clipping.

    Both stay on the device, so that nothing waits for it: the log reads them when it writes a line.
    """
    config, step = job.config, progress.step
    job.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=job.device)
    for batch, parts in _batches_of(job, step):
        batch = tuple(tensor.to(job.device, non_blocking=True) for tensor in batch)
        with autocast(job.device, job.precision):
            loss = job.loss(job.model, *batch) / parts
        loss.backward()
        total += loss.detach()
        progress.tokens += batch[0].numel() * job.world.size
    distributed.average_gradients(job.model, job.world)
    norm = nn.utils.clip_grad_norm_(job.model.parameters(), config.clip or float("inf"))
    mean_loss = distributed.average(total, job.world)
    if job.device.type == "cpu":  # where reading the values costs nothing
        refuse_non_finite(mean_loss.item(), norm.item(), step, config)
    set_learning_rate(job.optimizer, learning_rate(place(progress, job.steps), job.steps, config))
    job.optimizer.step()
    return mean_loss, norm


def _batches_of(job: Job, step: int) -> Iterator[tuple[Sequence[Tensor], float]]:
    """Yield this process's batches of an update, and the divisor of each batch's mean.

    The update's loss is one mean over everything that counts in its batches on all ranks, however it is cut into
    batches: a batch with `count` of the `total` items has the weight count / total. The gradients are averaged over
    the ranks afterwards, so each rank's weight is `size` times that. Where all batches count the same, this is a plain
    mean over the accumulated batches, and nothing has to be counted.
    """
    config = job.config
    batches = (job.batches.at(step * config.accumulate + micro) for micro in range(config.accumulate))
    if job.counted is None:
        yield from ((batch, config.accumulate) for batch in batches)
        return
    held = list(batches)
    counts = [job.counted(batch) for batch in held]
    total = distributed.total(sum(counts), job.world, job.device)
    for batch, count in zip(held, counts, strict=True):
        yield batch, total / (job.world.size * count)


def autocast(device: torch.device, precision: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Compute in `precision` inside the block where it is lower than float32."""
    if precision == torch.float32:
        return contextlib.nullcontext()
    # Norms keep float32 weights on purpose; torch's warning about it is for its own developers.
    warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
    return torch.autocast(device.type, dtype=precision)


def refuse_non_finite(loss: float, norm: float, step: int, config: LoopConfig, *, after: int = 0) -> None:
    """Raise `NonFiniteLossError` if the numbers of `step`, read `after` further updates, are not finite."""
    if loss - loss == 0 and norm - norm == 0:  # neither infinite nor NaN
        return
    what = f"the loss is {loss}" if loss - loss != 0 else f"the gradients' norm is {norm}"
    update = f"This was found {after} updates later" if after else "The update was not applied"
    raise NonFiniteLossError(
        f"At step {step} (batch {step * config.accumulate} of seed {config.seed}) {what}. {update}, and the "
        f"checkpoints are sound. Try a learning rate lower than {config.learning_rate:g}, a "
        "longer warm-up (--training.warmup-steps), or gradient clipping (--training.clip 1.0)."
    )


def _evaluate_if_due(job: Job, progress: Progress, clock: _Clock) -> bool:
    """Evaluate and sample before the first update, at each interval and at the end; return whether it is the best."""
    at_end = progress.step >= progress.steps
    improved = False
    if at_end or _due(progress.step, job.config.evaluate_every) or progress.step == 0:
        found = job.evaluate()  # on every rank, since weights may be sharded
        result = distributed.from_main(lambda: found, job.world)  # so that all ranks decide the same
        improved = progress.note_evaluation(result.loss)
        job.tell(
            Evaluated(
                progress.step,
                result.loss,
                result.perplexity,
                result.bits_per_byte,
                improved,
                progress.tokens,
                round(clock.seconds(), 3),
                dict(result.metrics),
            )
        )
    interval = job.config.sampling_interval
    if job.sample and interval and (at_end or progress.step % interval == 0):
        job.tell(Sampled(progress.step, tuple(job.sample(progress.step))))
    job.model.train()
    return improved


def _due(step: int, interval: int) -> bool:
    return step > 0 and step % interval == 0


def _reason_to_stop(job: Job, progress: Progress) -> str:
    if progress.step >= progress.steps:
        return "finished"
    if 0 < job.config.patience <= progress.evaluations_since_best:
        return "no improvement"
    if distributed.any_rank(job.stop(), job.world, job.device):
        return "interrupted"
    return ""


def _save(job: Job, progress: Progress, clock: _Clock, *, best: bool) -> None:
    progress.seconds, progress.saved_at = clock.seconds(), progress.step
    state = capture(job.model, job.optimizer, progress)  # on every rank, for the same reason
    if job.world.is_main:
        job.save(state, best)
        job.tell(CheckpointSaved(progress.step, best))


def _started(job: Job, progress: Progress) -> TrainingStarted:
    return TrainingStarted(
        step=progress.step,
        steps=progress.steps,
        parameters=sum(parameter.numel() for parameter in job.model.parameters()),
        tokens_per_step=job.batches.tokens_per_batch * job.world.size * job.config.accumulate,
        steps_per_epoch=job.batches.steps_per_epoch / job.config.accumulate,
        device=str(job.device),
        precision=str(job.precision).removeprefix("torch."),
    )


class _Clock:
    """Seconds of training, those before a resume included."""

    def __init__(self, progress: Progress) -> None:
        self._begin = time.perf_counter() - progress.seconds

    def seconds(self) -> float:
        return time.perf_counter() - self._begin


class _StepLog:
    """Collects updates into one `StepsFinished` every `log_every` steps, and before each checkpoint.

    Speed counts the time inside updates only: evaluations and samples do not make it look slow.
    """

    def __init__(self, job: Job, progress: Progress, clock: _Clock, pacer: Pacer) -> None:
        self._job, self._progress, self._clock, self._pacer = job, progress, clock, pacer
        self._updates: list[tuple[Tensor, Tensor]] = []
        self._seconds = 0.0
        self._rate = 0.0
        self._tokens = progress.tokens

    def add(self, loss: Tensor, gradient_norm: Tensor, seconds: float) -> None:
        self._updates.append((loss, gradient_norm))
        self._rate = self._job.optimizer.param_groups[-1]["lr"]
        self._seconds += seconds
        if (
            self._progress.step % self._job.config.log_every == 0
            or self._progress.step >= self._progress.steps
        ):
            self.tell()
            self._repace()

    def tell(self) -> None:
        """Report the pending updates, if there are any. Only here the loop waits for the device."""
        if not self._updates:
            return
        step, count = self._progress.step, len(self._updates)
        began = time.perf_counter()
        losses, norms = (torch.stack(numbers).tolist() for numbers in zip(*self._updates, strict=True))
        self._seconds += time.perf_counter() - began
        for index, (loss, norm) in enumerate(zip(losses, norms, strict=True), start=1):
            refuse_non_finite(loss, norm, step - count + index - 1, self._job.config, after=count - index)
        self._job.tell(
            StepsFinished(
                step=step,
                loss=sum(losses) / count,
                learning_rate=self._rate,
                gradient_norm=norms[-1],
                tokens=self._progress.tokens,
                tokens_per_second=(self._progress.tokens - self._tokens) / max(1e-9, self._seconds),
                seconds=round(self._clock.seconds(), 3),
                steps=self._progress.steps,
                metrics=distributed.average_numbers(self._job.metrics(), self._job.world, self._job.device),
            )
        )
        self._pacer.note_updates(self._seconds, count)
        self._updates, self._seconds, self._tokens = [], 0.0, self._progress.tokens

    def _repace(self) -> None:
        if self._job.config.seconds is None:
            return
        progress, world = self._progress, self._job.world
        steps = distributed.from_main(lambda: self._pacer.steps(progress, self._clock.seconds()), world)
        repace(progress, steps, self._job.steps)
