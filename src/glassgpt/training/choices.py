"""Threads, precision and compiling, chosen by the time that a real update takes on this machine.

A choice is measured carefully once (`machine.compare`) and kept for the machine (`machine.kept`). From then on it
stays the same, so the same command with the same seed trains the same numbers. The default is all cores and float32;
another choice is made only where it is clearly faster. While other programs keep the machine busy, nothing is kept,
and the number of threads is chosen for this run only.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from glassgpt.device import available_cores, can_compile, dtype_of
from glassgpt.machine.compare import Comparison, compare
from glassgpt.machine.facts import free_memory
from glassgpt.machine.kept import keep, measuring_is_off, note_for_now, recall, recall_for_now
from glassgpt.machine.load import QUIET, used_by_others
from glassgpt.machine.watch import SlownessWatch, ThreadWatch, alternatives
from glassgpt.model.config import ModelConfig
from glassgpt.model.summary import training_bytes
from glassgpt.training.config import LoopConfig
from glassgpt.training.jobs import Job
from glassgpt.training.trial import steady_seconds, trial_job, undisturbed, updates_of

PROBE_TOKENS = 2048
"""Tokens of a trial update; larger batches prefer the same settings."""
PROBE_LAYERS = 2
"""All blocks are the same, so two of them show how many behave."""
THREADS_LEAD = 1.1
"""Fewer threads must be this many times as fast as all cores."""
PRECISION_LEAD = 1.5
"""bfloat16 must be this many times as fast as float32, which is exact to 24 bits instead of 8.

Small models gain 1.2 to 1.3 on the processors that were tried; at such a ratio noise would decide.
"""
COMPILE_LEAD = 1.05
PRODUCT = 384
"""Size of the matrix product that shows whether bfloat16 is worth a trial."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """How a model is trained on a device: CPU threads (0 where they do not matter) and precision."""

    threads: int
    precision: torch.dtype


def choose(
    model: ModelConfig,
    training: LoopConfig,
    device: torch.device,
    *,
    processes: int = 1,
    seconds: float = 6.0,
    say: Say = lambda _: None,
) -> Choice:
    """Return threads and precision for training `model`: the requested ones, or the faster ones on this machine.

    Each measurement takes up to about `seconds` unless it was made on this machine before. `processes` is the number
    of processes that share the cores; each takes its share. `say` gets a line where a choice may surprise.
    """
    threads, precision = training.threads, training.precision
    if measuring_is_off():
        threads = threads or max(1, available_cores() // processes)
        return Choice(threads, dtype_of(precision))
    probe = _Probe(model, training, device, seconds, say)
    with undisturbed(device):
        if not threads:
            cores = max(1, available_cores() // processes)
            alone = device.type == "cpu" and processes == 1 and cores > 1
            threads = probe.threads(cores) if alone else cores
        if precision == "auto":
            precision = probe.precision(threads) if processes == 1 else "float32"
    return Choice(threads, torch.bfloat16 if precision == "bfloat16" else torch.float32)


def thread_watch(
    model: ModelConfig, training: LoopConfig, device: torch.device, *, processes: int = 1
) -> ThreadWatch | SlownessWatch | None:
    """Return a watch that changes the number of threads during a run, or only reports that other programs slow it.

    Only a run that is paced by the clock may change the number, because a different number changes the last bits of
    the result. Any other run promises the same bits however often it is interrupted. None where neither helps.
    """
    cores = available_cores()
    if device.type != "cpu" or processes > 1 or measuring_is_off():
        return None
    if training.seconds is None or training.threads or cores < 2:
        return SlownessWatch()
    known = recall(_question("threads", model, training, device))
    usual = int(known.choice) if known and known.choice.isdigit() else cores
    return ThreadWatch(alternatives(cores), usual=usual, current=torch.get_num_threads())


def settled(
    training: LoopConfig,
    model: ModelConfig,
    device: torch.device,
    *,
    paced: bool = False,
    processes: int = 1,
    say: Say = lambda _: None,
) -> LoopConfig:
    """Return the settings with threads and precision decided, so that a resumed run uses the same ones.

    From here on this process computes with those threads. A run that is `paced` by the clock leaves their number open
    in its settings, because it may change the number while it trains (see `thread_watch`).
    """
    choice = choose(model, training, device, processes=processes, say=say)
    if device.type == "cpu":
        torch.set_num_threads(choice.threads)
    is_open = paced or training.seconds is not None or processes > 1 or device.type != "cpu"
    return replace(
        training,
        precision="bfloat16" if choice.precision == torch.bfloat16 else "float32",
        threads=training.threads if is_open else choice.threads,
    )


def compiling_pays(
    model: ModelConfig, training: LoopConfig, device: torch.device, precision: torch.dtype
) -> float:
    """Return how many times as fast updates are with compiled blocks, or 1.0 where that is not clear."""
    if not can_compile(device):
        return 1.0
    with undisturbed(device):
        plain, compiled = (
            updates_of(trial_job(model, replace(training, compile=flag), device, precision))
            for flag in (False, True)
        )
        compiled()  # compiles
        found = compare(plain, compiled, lead=COMPILE_LEAD, seconds=20.0)
    return found.ratio if found.wins else 1.0


def seconds_per_update(
    model: ModelConfig, training: LoopConfig, device: torch.device, precision: torch.dtype
) -> float:
    """Return the seconds that an update takes with this model, batch and number of threads, kept for this machine.

    While the machine is busy, the measurement is used once and not kept.
    """
    question = _question("seconds", model, training, device) + f" {precision}"
    question = question.replace("torch.", "") + f" threads={training.threads} batch={training.batch_size}"
    question += f" layers={model.n_layer}{' compiled' if training.compile else ''}"
    quiet = used_by_others() <= QUIET
    known = recall(question) if quiet else None
    if known is not None and known.figures.get("seconds", 0.0) > 0:
        return known.figures["seconds"]
    with undisturbed(device):
        found = steady_seconds(updates_of(trial_job(model, training, device, precision)))
    if quiet:
        keep(question, "measured", seconds=found)
    return found


@dataclass(frozen=True)
class _Probe:
    """The measurements of one model on one device. All trials share one job and therefore its memory."""

    model: ModelConfig
    training: LoopConfig
    device: torch.device
    seconds: float
    say: Say

    def threads(self, cores: int) -> int:
        """Return the number of threads: all cores, unless fewer are clearly faster."""
        question = _question("threads", self.model, self.training, self.device)
        others, known, now = used_by_others(), recall(question), recall_for_now(question)
        if known is not None and others <= QUIET and known.choice.isdigit():
            return max(1, min(int(known.choice), cores))
        if now is not None:
            return int(now)
        if self._too_large():
            return cores
        best, lead = cores, 1.0
        found = self._fewer(cores, cores // 2)
        while found.wins and best > 1:
            best, lead = best // 2, lead * found.ratio
            if best > 1:
                found = self._fewer(best, best // 2)
        if others > QUIET or found.wins is None:
            note_for_now(question, str(best))
            self._tell_threads(best, cores, others, lead, found)
        else:
            keep(question, str(best), **_figures(found))
        return best

    def precision(self, threads: int) -> str:
        """Return "bfloat16" where it is clearly faster, else "float32"."""
        question = _question("precision", self.model, self.training, self.device) + f" threads={threads}"
        known, now = recall(question), recall_for_now(question)
        choice = known.choice if known else now
        if choice in ("float32", "bfloat16"):
            return choice
        if self._too_large():
            return "float32"
        if not bfloat16_products_gain(self.device):
            chosen, figures, clear = "float32", {}, True
        else:
            usual, other = (
                updates_of(self._job, threads=threads, precision=kind)
                for kind in (torch.float32, torch.bfloat16)
            )
            found = compare(usual, other, lead=PRECISION_LEAD, seconds=self.seconds)
            chosen, figures = "bfloat16" if found.wins else "float32", _figures(found)
            clear = found.wins is not None
            if not clear:
                self._tell_unclear(found)
        if clear and used_by_others() <= QUIET:
            keep(question, chosen, **figures)
        else:
            note_for_now(question, chosen)
        return chosen

    def _fewer(self, usual: int, fewer: int) -> Comparison:
        """Compare two numbers of threads."""
        runs = (updates_of(self._job, threads=number) for number in (usual, fewer))
        return compare(*runs, lead=THREADS_LEAD, seconds=self.seconds)

    @functools.cached_property
    def _job(self) -> Job:
        settings = _probe_training(self.model, self.training)
        return trial_job(_probe_model(self.model), settings, self.device, torch.float32)

    def _too_large(self) -> bool:
        """Whether a trial needs more memory than is free; whether the training fits is checked elsewhere."""
        rows = _probe_training(self.model, self.training).batch_size
        needed = training_bytes(_probe_model(self.model), batch_size=rows, device=self.device.type).total
        return needed > free_memory(self.device) / 2

    def _tell_threads(self, best: int, cores: int, others: float, lead: float, found: Comparison) -> None:
        if best < cores:
            self.say(
                f"Other programs keep about {others:.1f} of {cores} cores busy. Training begins with {best} "
                f"thread{'' if best == 1 else 's'}, which is {lead:.1f} times as fast now."
            )
        elif found.wins is None:
            self.say(
                f"The measurements are too noisy to choose the number of threads, so all {cores} cores are used. "
                "The option --training.threads of train and finetune sets it."
            )

    def _tell_unclear(self, found: Comparison) -> None:
        self.say(
            f"The measurements are too noisy to judge bfloat16 (about {found.ratio:.2f} times as fast as float32), so "
            "the run computes in float32. The option --training.precision of train and finetune sets it."
        )


def bfloat16_products_gain(device: torch.device) -> bool:
    """Return whether a bfloat16 matrix product is faster than a float32 one; if not, no update can be faster."""
    size = PRODUCT if device.type == "cpu" else 2048
    matrices = [torch.ones(size, size, dtype=kind, device=device) for kind in (torch.float32, torch.bfloat16)]
    usual, other = (partial(_product, matrix) for matrix in matrices)
    return compare(usual, other, lead=1.0, seconds=0.5).ratio > 1.0


def _product(matrix: torch.Tensor) -> float:
    return (matrix @ matrix)[0, 0].item()  # waits for the device


def _probe_model(model: ModelConfig) -> ModelConfig:
    return replace(
        model, n_layer=min(model.n_layer, PROBE_LAYERS), vocab_size=_power_of_two(model.vocab_size)
    )


def _probe_training(model: ModelConfig, training: LoopConfig) -> LoopConfig:
    rows = max(1, min(training.batch_size, PROBE_TOKENS // model.context_length))
    return replace(training, batch_size=rows, accumulate=1, compile=False)


def _power_of_two(number: int) -> int:
    return 2 ** math.ceil(math.log2(max(2, number)))


def _question(what: str, model: ModelConfig, training: LoopConfig, device: torch.device) -> str:
    """Return the key of a measurement: every part of the probe's shape that could change the result."""
    probe = dataclasses.asdict(_probe_model(model))
    parts = (probe[name] for name in ("n_embd", "n_head", "n_layer", "vocab_size", "context_length"))
    shape = "x".join(str(part) for part in parts)
    kinds = f"{model.positions} {model.norm} {model.activation} {model.attention}"
    rows = _probe_training(model, training).batch_size
    return f"{what}: {device.type} {shape} rows={rows} {kinds} {training.optimizer}"


def _figures(found: Comparison) -> dict[str, float]:
    return {
        "ratio": round(found.ratio, 4),
        "rounds": found.rounds,
        "usual_seconds": round(found.usual_seconds, 6),
        "other_seconds": round(found.other_seconds, 6),
    }
