"""Whether an exported model still computes what ours does: the end of every export.

The same ids, drawn once, go through our model before and through another program afterwards. Ours may be let go in
between, so that two models are never held at once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from glassgpt.errors import InteropError
from glassgpt.generation.engine import evaluating, generate_ids
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.text import never_written
from glassgpt.model.gpt import GPT
from glassgpt.runs.opening import Run

ROWS, LENGTH = 2, 24
PROMPT, WRITTEN = 8, 16
TEXTS = (
    "Hello, world!",
    "  It's 2026:\n\tnaïve café, 12345 – “so”.",
    "def f(x):\n    return x**2\n\n",
    "日本語 🙂",
)
# Far above what a different order of additions does, and far below what a wrong weight does.
MOST_DIFFERENCE = {"f32": 2e-3, "f16": 0.1}


@dataclass(frozen=True)
class Expected:
    """What our model says to some ids."""

    ids_BT: Tensor
    logits_BTV: Tensor
    greedy: list[int]
    """The ids that follow the first `PROMPT` ones of the first row, none of them an end."""
    greedy_logits_TV: Tensor
    """The logits that each of those was chosen by."""
    never: list[int]
    """The ids that stand for no text, which are not written."""
    texts: dict[str, list[int]]
    """Sample texts and their ids."""


@dataclass(frozen=True)
class Parity:
    """What another program made of the exported model, beside ours."""

    by: str
    """Who computed: a library and its version. Empty: nobody could."""
    told: str
    """The comparison in a few words."""

    def line(self) -> str:
        """Return it as a sentence."""
        return f"Checked with {self.by}: {self.told}." if self.by else f"Not run: {self.told}."


def expect(run: Run) -> Expected:
    """Let our model compute, for ids drawn from its tokenizer's."""
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
    """Return the likeliest ids after a prompt, and the logits (T, V) that each was chosen by."""
    count = max(0, min(WRITTEN, model.config.context_length - len(prompt)))
    stream = generate_ids(model, prompt, SamplingConfig(temperature=0), exclude=never)
    ids = [id for (id,) in itertools.islice(stream, count)]
    with torch.no_grad(), evaluating(model):
        logits_TV = model(torch.tensor([[*prompt, *ids]]))[0, len(prompt) - 1 : -1].float()
    logits_TV[:, never] = -torch.inf
    return ids, logits_TV


def ends_of_answers(run: Run) -> list[int]:
    """Return the ids that end an answer of a run that chats, other than the end of a text."""
    stops = (run.lineage.get("chat") or {}).get("stop") or []
    ids = [run.tokenizer.encode(stop, allow_special=True) for stop in stops]
    return [one[0] for one in ids if len(one) == 1 and one[0] != run.tokenizer.end_of_text]


def compare(expected: Expected, logits_BTV: Tensor, *, by: str, dtype: str) -> Parity:
    """Compare logits with ours. Raises `InteropError` when they differ by more than rounding does."""
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
