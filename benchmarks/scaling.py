"""How time and memory grow: an update with parameters, vocabulary and context, preparing with the text.

There is no peer and no mark: the table helps to choose, and shows a cost that grows faster than it should. Each row
doubles one thing and is timed alternately with the row it is compared with; growth is the ratio of the two.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.measure import alternate, fresh
from benchmarks.report import Figure
from benchmarks.texts import write_corpus
from glassgpt.model.config import ModelConfig

BASE = ModelConfig(
    vocab_size=4096, context_length=128, n_layer=3, n_head=3, n_embd=192, tied_head=False, embedding_std=0.3
)
DOUBLED = {
    "depth, 3 to 6 layers": replace(BASE, n_layer=6),
    "width, 192 to 384": replace(BASE, n_embd=384, n_head=6),
    "vocabulary, 4,096 to 8,192": replace(BASE, vocab_size=8192),
    "vocabulary, 4,096 to 32,768": replace(BASE, vocab_size=32768),
    "context, 128 to 256 (same number of tokens)": replace(BASE, context_length=256),
    "context, 128 to 1,024 (same number of tokens)": replace(BASE, context_length=1024),
}
TOKENS = 4096


def run(quick: bool) -> list[Figure]:
    """Return how an update's time and memory grow, then preparing's."""
    chosen = dict(list(DOUBLED.items())[:2]) if quick else DOUBLED
    rounds = 1 if quick else 5
    updates = [_growth(name, model, rounds) for name, model in chosen.items()]
    sizes = (1_000_000, 2_000_000) if quick else (16_000_000, 64_000_000)
    return [*updates, _preparing(*sizes)]


def _growth(name: str, model: ModelConfig, rounds: int) -> Figure:
    seconds, memory = fresh(_compare, model, rounds).value, fresh(_memory, model).own_bytes
    before = fresh(_memory, BASE).own_bytes
    return Figure(
        f"an update of {TOKENS:,} tokens: {name}",
        f"{1000 * seconds['larger']:.0f} ms, {memory / 1e6:.0f} MB",
        f"{1000 * seconds['base']:.0f} ms, {before / 1e6:.0f} MB",
        seconds["larger"] / seconds["base"],
        "growth of the time",
    )


def _compare(model: ModelConfig, rounds: int) -> dict[str, float]:
    return alternate({"base": updater(BASE), "larger": updater(model)}, rounds=rounds)


def _memory(model: ModelConfig) -> None:
    step = updater(model)
    for _ in range(2):
        step()


def updater(model: ModelConfig) -> Callable[[], object]:
    """Return a function that makes one update with Muon on a fixed batch of random ids."""
    from glassgpt.training.config import TrainingConfig
    from glassgpt.training.state import Progress
    from glassgpt.training.trainer import update
    from glassgpt.training.trial import trial_job

    training = TrainingConfig(
        optimizer="muon", batch_size=TOKENS // model.context_length, precision="float32"
    )
    job = trial_job(model, training, torch.device("cpu"), torch.float32)
    progress = Progress(steps=job.steps)
    return lambda: update(job, progress)


def _preparing(small: int, large: int) -> Figure:
    few, many = fresh(_prepare, small), fresh(_prepare, large)
    return Figure(
        f"preparing, {small / 1e6:.0f} MB to {large / 1e6:.0f} MB of text",
        f"{many.value:.1f} s, {many.peak_bytes / 1e6:.0f} MB",
        f"{few.value:.1f} s, {few.peak_bytes / 1e6:.0f} MB",
        many.value / few.value,
        f"growth of the time; the text grew {large / small:.0f}x",
    )


def _prepare(size: int) -> float:
    from benchmarks.measure import timed
    from glassgpt.pretraining.data import prepare_data
    from glassgpt.runs.config import CorpusConfig, RunConfig

    with tempfile.TemporaryDirectory() as folder:
        os.environ["GLASSGPT_CACHE"] = f"{folder}/cache"
        text = Path(folder) / "text.txt"
        write_corpus(text, size)
        config = RunConfig(corpus=CorpusConfig(sources=(str(text),)))
        return timed(lambda: prepare_data(config))
