"""Checks whether an exported model still computes the same as ours: the last step of every export.

The same ids, drawn once, go first through our model and then through another program. Our model may be deleted in
between, so that two models are never in memory at once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from glassgpt.errors import InteropError
from glassgpt.generation.engine import generate_ids
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.text import never_written
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.runs.opening import Run

ROWS, LENGTH = 2, 24
PROMPT, WRITTEN = 8, 16
TEXTS = (
    "Hello, world!",
    "  It's 2026:\n\tnaïve café, 12345 – “so”.",
    "def f(x):\n    return x**2\n\n",
    "日本語 🙂",
)
# Far above the effect of a different order of additions, and far below that of a wrong weight.
MOST_DIFFERENCE = {"f32": 2e-3, "f16": 0.1}


@dataclass(frozen=True)
class Expected:
    """What our model computes for some ids."""

    ids_BT: Tensor
    logits_BTV: Tensor
    greedy: list[int]
    """The greedy ids after the first `PROMPT` ones of the first row, without end tokens."""
    greedy_logits_TV: Tensor
    """The logits from which each of them was chosen."""
    never: list[int]
    """The ids that stand for no text and are never generated."""
    texts: dict[str, list[int]]
    """Sample texts and their ids."""


@dataclass(frozen=True)
class Parity:
    """The comparison of another program's results with ours."""

    by: str
    """The library that computed, with its version; empty where none could."""
    told: str
    """The result in a few words."""

    def line(self) -> str:
        """Return the result as a sentence."""
        return f"Checked with {self.by}: {self.told}." if self.by else f"Not run: {self.told}."


def expect(run: Run) -> Expected:
    """Let our model compute for ids drawn from those of its tokenizer."""
    length = min(LENGTH, run.model.config.context_length)
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(run.tokenizer.vocab_size, (ROWS, length), generator=generator)
    with torch.no_grad(), evaluating(run.model):
        logits_BTV = run.model(ids_BT).float()
    never = never_written(run.tokenizer, documents=False, vocab_size=run.model.config.vocab_size)
    never += ends_of_answers(run)
    greedy, greedy_logits_TV = _greedy(run.model, ids_BT[0, :PROMPT].tolist(), never)
    texts = {text: run.tokenizer.encode(text) for text in TEXTS if not run.tokenizer.unknown(text)}
    return Expected(ids_BT, logits_BTV, greedy, greedy_logits_TV, never, texts)


def _greedy(model: GPT, prompt: list[int], never: list[int]) -> tuple[list[int], Tensor]:
    """Return the likeliest ids after a prompt, and the logits (T, V) from which each was chosen."""
    count = max(0, min(WRITTEN, model.config.context_length - len(prompt)))
    stream = generate_ids(model, prompt, SamplingConfig(temperature=0), exclude=never)
    ids = [id for (id,) in itertools.islice(stream, count)]
    with torch.no_grad(), evaluating(model):
        logits_TV = model(torch.tensor([[*prompt, *ids]]))[0, len(prompt) - 1 : -1].float()
    logits_TV[:, never] = -torch.inf
    return ids, logits_TV


def ends_of_answers(run: Run) -> list[int]:
    """Return the ids that end an answer of a chat run, other than the end of a text."""
    stops = run.lineage.chat.stop if run.lineage.chat else []
    ids = [run.tokenizer.encode(stop, allow_special=True) for stop in stops]
    return [one[0] for one in ids if len(one) == 1 and one[0] != run.tokenizer.end_of_text]


def compare(expected: Expected, logits_BTV: Tensor, *, by: str, dtype: str) -> Parity:
    """Compare logits with ours. Raises `InteropError` when they differ by more than rounding errors."""
    off = (logits_BTV.float() - expected.logits_BTV).abs().max().item()
    size = max(1.0, expected.logits_BTV.abs().max().item())
    agree = (logits_BTV.argmax(-1) == expected.logits_BTV.argmax(-1)).float().mean().item()
    if not off <= MOST_DIFFERENCE[dtype] * size:
        raise InteropError(
            f"The exported model is wrong: {by} computes logits that are off by {off:.2g}. Nothing was left. This "
            "is a bug of GlassGPT's or of the library: please report it with the run's config.toml."
        )
    return Parity(
        by, f"logits differ by at most {off:.1e}, the likeliest token agrees at {agree:.0%} of places"
    )
