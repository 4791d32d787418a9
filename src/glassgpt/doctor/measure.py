"""How fast this machine is: products of matrices, memory, and updates of three models."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from glassgpt.device import available_cores, pick_device, threads_set
from glassgpt.errors import GlassGPTError
from glassgpt.generation.fastest import fastest_form, known_form
from glassgpt.generation.pace import known_pace, measure_pace
from glassgpt.machine.load import QUIET, used_by_others
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.runs.directory import find_run
from glassgpt.runs.reading import read_config
from glassgpt.training.choices import bfloat16_products_gain, choose, seconds_per_update
from glassgpt.training.config import TrainingConfig

PRODUCT = 1024
COPIED = 256_000_000  # bytes; far beyond any cache
REPEATS = 5
SHAPES = ((2, 128), (4, 256), (6, 384))
TOKENS, CONTEXT, VOCABULARY = 2048, 128, 2048


@dataclass(frozen=True)
class Product:
    """How fast a square product of `PRODUCT` rows is."""

    dtype: str
    threads: int
    gigaflops: float


@dataclass(frozen=True)
class Update:
    """How fast a model trains with the threads and the precision chosen for it."""

    layers: int
    width: int
    threads: int
    precision: str
    milliseconds: float
    tokens_per_second: float


@dataclass(frozen=True)
class Writing:
    """How fast a model writes, with the engine and the threads that are fastest."""

    name: str
    """Layers and width, or the name of the newest run."""
    engine: str
    threads_for_one: int
    threads_for_many: int
    one: float
    """Tokens per second of one text."""
    many: float
    """Tokens per second of 16 texts together."""
    weights: str
    """The form of the weights that `--weights auto` takes, as far as it was measured; else ""."""


@dataclass(frozen=True)
class Measured:
    """All measurements. `others` is the number of cores used by other programs; if busy, the figures say little."""

    device: str
    others: float
    products: tuple[Product, ...]
    copies: dict[str, float]
    """Gigabytes per second that a copy reads and writes, by the number of threads."""
    updates: tuple[Update, ...]
    writing: tuple[Writing, ...]
    notes: tuple[str, ...]

    @property
    def is_quiet(self) -> bool:
        """Whether no other program was working."""
        return self.others <= QUIET


def measure(say: Callable[[str], None] = lambda _: None) -> Measured:
    """Measure this machine, in about ten seconds if no earlier measurement is kept."""
    device, others, notes = pick_device("auto"), used_by_others(0.3), []
    say("Multiplying matrices ...")
    products = tuple(_products(device))
    say("Copying memory ...")
    copies = {str(count): _copy(count) for count in _counts()}
    updates = []
    for layers, width in SHAPES:
        say(f"Training {layers} layers of {width} for some updates ...")
        updates.append(_update(layers, width, device, notes.append))
    writing = []
    if device.type == "cpu":
        shapes, newest = (
            {f"{layers} x {width}": _shape(layers, width) for layers, width in SHAPES},
            _newest_run(),
        )
        for name, shape in (shapes | newest).items():
            say(f"Writing with {name} ...")
            writing.append(_writing(name, shape, compare_forms=name in newest))
    return Measured(
        str(device), others, products, copies, tuple(updates), tuple(writing), tuple(dict.fromkeys(notes))
    )


def _counts() -> list[int]:
    return sorted({1, available_cores()})


def _products(device: torch.device) -> list[Product]:
    """Measure float32, and bfloat16 unless even a small product in it is very slow."""
    dtypes = [torch.float32, *([torch.bfloat16] if bfloat16_products_gain(device) else [])]
    size = PRODUCT if device.type == "cpu" else 4096
    found = []
    for dtype in dtypes:
        matrix = torch.ones(size, size, dtype=dtype, device=device)
        for count in _counts() if device.type == "cpu" else [0]:
            with threads_set(count):
                seconds = _median(lambda matrix=matrix: (matrix @ matrix)[0, 0].item())
            found.append(Product(str(dtype).removeprefix("torch."), count, 2 * size**3 / seconds / 1e9))
    return found


def _copy(threads: int) -> float:
    source = torch.zeros(COPIED // 4)
    target = torch.empty_like(source)
    with threads_set(threads):
        return 2 * COPIED / _median(lambda: target.copy_(source)) / 1e9


def _newest_run() -> dict[str, ModelConfig]:
    """Return the name of the newest run with the shape of its model; empty if there are no runs."""
    try:
        run = find_run("latest")
        return {run.name: read_config(run).model}
    except GlassGPTError:
        return {}


def _writing(name: str, shape: ModelConfig, *, compare_forms: bool) -> Writing:
    model = GPT(shape).eval().requires_grad_(False)
    pace = known_pace(model) or measure_pace(model, seconds=0.3)
    form = fastest_form(model) if compare_forms else known_form(model)
    return Writing(
        name, pace.engine, pace.threads_for_one, pace.threads_for_many, pace.one, pace.many, form or ""
    )


def _update(layers: int, width: int, device: torch.device, note: Callable[[str], None]) -> Update:
    model = _shape(layers, width)
    training = TrainingConfig(optimizer="muon", batch_size=TOKENS // CONTEXT)
    choice = choose(model, training, device, seconds=3.0, say=note)
    settings = dataclasses.replace(training, threads=choice.threads if device.type == "cpu" else 0)
    seconds = seconds_per_update(model, settings, device, choice.precision)
    precision = str(choice.precision).removeprefix("torch.")
    return Update(layers, width, settings.threads, precision, 1000 * seconds, TOKENS / seconds)


def _shape(layers: int, width: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=VOCABULARY,
        context_length=CONTEXT,
        n_layer=layers,
        n_head=width // 64,
        n_embd=width,
        tied_head=False,
    )


def _median(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
