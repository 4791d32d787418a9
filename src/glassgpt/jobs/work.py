"""The one place that carries out a training of any kind in a run directory.

    Work -> job (device, precision, optimizer) -> newest checkpoint, if any -> the loop -> `finish`

A kind of training describes itself as a `Work`. Everything that all runs have in common is here: checkpoints and
resuming, files of metrics and samples, trackers, the report, stopping on a signal, the watch over CPU threads.

A training ends when its run is gone, or when its metrics or a checkpoint cannot be written: it could not be resumed.
What only shows it (samples, pictures, trackers, the report) never ends it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from glassgpt.device import World
from glassgpt.jobs.holding import go_on_from, metrics_of, saving
from glassgpt.model.config import ModelConfig
from glassgpt.runs.checkpoints import CheckpointStore
from glassgpt.runs.claim import Claim
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.plots import write_plot
from glassgpt.runs.records import SamplesFile
from glassgpt.runs.redrawing import Redrawn
from glassgpt.runs.report import write_report
from glassgpt.runs.trackers import make_trackers
from glassgpt.training.choices import thread_watch
from glassgpt.training.config import LoopConfig
from glassgpt.training.events import Listener, TrainingFinished
from glassgpt.training.interrupt import graceful_stop
from glassgpt.training.jobs import BatchSource, EvaluationResult, make_job
from glassgpt.training.listening import without_ending
from glassgpt.training.losses import LossFunction, next_token_loss
from glassgpt.training.trainer import train

REPORT_SECONDS = 2.0
"""Seconds that plots and report take when training is over."""

Say = Callable[[str], None]
Config = TypeVar("Config", bound=LoopConfig)


@dataclass(frozen=True)
class Outcome:
    """How a training ended, and where its files are."""

    directory: RunDirectory
    finished: TrainingFinished
    floor: float | None = None
    """The lowest possible loss in nats per token, where it is known."""


@dataclass
class Work:
    """What a kind of training provides. See `training.jobs.Job` for the meaning of each part."""

    config: LoopConfig
    model: nn.Module
    shape: ModelConfig
    """Config of the language model; the number of threads is chosen for its updates."""
    batches: BatchSource
    evaluate: Callable[[], EvaluationResult]
    finish: Callable[[RunDirectory, CheckpointStore, TrainingFinished], None]
    """Store the final weights; called on the main process while it still holds the claim."""
    sample: Callable[[int], Sequence[str]] | None = None
    prompts: tuple[str, ...] = ()
    """Prompts of the samples, in their order."""
    loss: LossFunction = next_token_loss
    counted: Callable[[Sequence[torch.Tensor]], int] | None = None
    metrics: Callable[[], dict[str, float]] = dict
    floor: float | None = None


@dataclass(frozen=True)
class Place:
    """Where a training computes, and the function that reports what is not possible there."""

    device: torch.device
    world: World
    say: Say


def carry_out(
    work: Work, place: Place, claim: Claim, listeners: Sequence[Listener], track: Sequence[str]
) -> Outcome:
    """Train from the newest checkpoint, or from the beginning, and leave a complete run directory.

    `listeners` get the events of the loop after the run's own files; `track` names trackers. Raises the loop's errors,
    and `RunError` when there is nothing to continue from.
    """
    directory = claim.run
    store = CheckpointStore(
        directory.checkpoints,
        work.config.keep_checkpoints,
        directory.snapshots,
        work.config.keeps_weights_of,
    )
    with graceful_stop() as stop:
        job = make_job(
            work.config,
            work.model,
            device=place.device,
            say=place.say,
            save=saving(claim, store),
            stop=lambda: stop.requested,
            world=place.world,
            watch=thread_watch(work.shape, work.config, place.device, processes=place.world.local_size),
            batches=work.batches,
            steps=work.config.updates(work.batches.steps_per_epoch),
            evaluate=work.evaluate,
            sample=work.sample,
            loss=work.loss,
            counted=work.counted,
            metrics=work.metrics,
        )
        progress = go_on_from(store, directory, work.model, job.optimizer, place.say)
        if place.world.is_main:
            job.records = [claim.check, metrics_of(claim, progress)]
            job.listeners = [
                SamplesFile(directory, work.prompts),
                Redrawn(directory.plot.name, lambda: write_plot(directory, work.floor)),
                Redrawn(directory.report.name, lambda: write_report(directory), at_end=False),  # see below
                *make_trackers(track, directory),
                *listeners,
            ]
        finished = train(job, progress)
        if place.world.is_main:
            claim.check()
            work.finish(directory, store, finished)
            without_ending(directory.report.name, lambda: write_report(directory), place.say)
    return Outcome(directory, finished, work.floor)


def within(config: Config, seconds: float) -> Config:
    """Return the settings with the seconds that remain for the loop, so that loop and report take `seconds`."""
    left = max(1.0, seconds - REPORT_SECONDS)
    return dataclasses.replace(config, seconds=round(min(left, config.seconds or left), 1))


def final_checkpoint(config: LoopConfig, store: CheckpointStore) -> Path | None:
    """Return the folder of the checkpoint with the run's final weights, None where no checkpoint is whole."""
    best = store.best() if config.final_weights == "best" else None
    return best or store.newest()
