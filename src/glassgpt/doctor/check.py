"""A ten-second check: train, interrupt, resume to the same bits, generate, export.

It runs in a temporary folder and in this process, with a tiny model on the built-in stories.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from glassgpt import files
from glassgpt.errors import GlassGPTError, MissingExtraError
from glassgpt.model.config import ModelConfig
from glassgpt.pretraining.run import resume_run, start_run
from glassgpt.runs.config import CorpusConfig, PromptsConfig, RunConfig
from glassgpt.runs.opening import open_run
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.config import TrainingConfig
from glassgpt.training.events import Event, StepsFinished

STEPS, INTERRUPTED_AT = 12, 6
CONFIG = RunConfig(
    corpus=CorpusConfig(sources=("builtin:tinytales:200",)),
    tokenizer=TokenizerConfig(vocab_size=400),
    model=ModelConfig(context_length=64, n_layer=2, n_head=2, n_embd=32),
    training=TrainingConfig(
        steps=STEPS,
        batch_size=4,
        evaluate_every=6,
        log_every=1,
        warmup_steps=2,
        threads=1,
        precision="float32",
        device="cpu",
    ),
    samples=PromptsConfig(max_tokens=8),
)


@dataclass(frozen=True)
class Step:
    """One part of the check. `trouble` is "" if it worked; `skipped` says why it was not tried."""

    name: str
    seconds: float
    trouble: str = ""
    skipped: str = ""


def check() -> Iterator[Step]:
    """Yield each part as it is done. A part that fails ends the check."""
    with tempfile.TemporaryDirectory() as folder, _folders(Path(folder)):
        for name, part in (
            ("train", _train),
            ("resume to the same bits", _resume),
            ("generate", _generate),
            ("export", lambda: _export(Path(folder))),
        ):
            step = _tried(name, part)
            yield step
            if step.trouble:
                return


def _tried(name: str, part: Callable[[], str]) -> Step:
    began = time.perf_counter()
    trouble = skipped = ""
    try:
        trouble = part()
    except MissingExtraError as error:
        skipped = str(error)
    except GlassGPTError as error:
        trouble = str(error)
    except Exception as error:  # a bug in GlassGPT, which the doctor must report and survive
        trouble = f"{type(error).__name__}: {error}"
    return Step(name, time.perf_counter() - began, trouble, skipped)


@contextlib.contextmanager
def _folders(folder: Path) -> Iterator[None]:
    """Keep runs and cache in a folder during the block."""
    own = {"GLASSGPT_RUNS": str(folder / "runs"), "GLASSGPT_CACHE": str(folder / "cache")}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _train() -> str:
    finished = start_run(CONFIG, name="whole").finished
    return "" if finished.step == STEPS else f"It ended at step {finished.step} of {STEPS}."


def _resume() -> str:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepsFinished) and event.step == INTERRUPTED_AT:
            signal.raise_signal(signal.SIGINT)

    interrupted = start_run(CONFIG, name="halves", listeners=[interrupt])
    if interrupted.finished.reason != "interrupted":
        return f"The training could not be interrupted: it ended with {interrupted.finished.reason!r}."
    resumed = resume_run("halves")
    whole = files.hash_file(open_run("whole").directory.weights)
    return "" if files.hash_file(resumed.directory.weights) == whole else "The weights differ."


def _generate() -> str:
    run = open_run("whole")
    settings = dataclasses.replace(_greedy(), max_tokens=16)
    texts = {run.complete("The ", settings)[0] for _ in range(2)}
    return "" if len(texts) == 1 else "The same prompt gave two texts."


def _greedy():
    from glassgpt.generation.text import GenerationConfig

    return GenerationConfig(temperature=0.0)


def _export(folder: Path) -> str:
    from glassgpt.interop.exports import export_run

    export_run("whole", "hf", output=folder / "exported")
    return ""
