"""How well a model predicts text it was not trained on.

The loss alone cannot be compared between tokenizers: one with longer tokens has fewer, harder guesses.
Bits per byte can: it spreads the same surprise over the bytes of the text, which no tokenizer changes.
Perplexity, exp(loss), is how many equally likely tokens the model hesitates between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from glassgpt.dataset.batches import document_windows, evaluation_windows
from glassgpt.dataset.shards import TokenSplit
from glassgpt.generation.engine import evaluating
from glassgpt.model.gpt import GPT
from glassgpt.training.losses import perplexity, token_losses
from glassgpt.training.trainer import autocast


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A measured loss. `tokens` and `text_bytes` tell on how much text."""

    loss: float  # mean nats a token
    tokens: int
    text_bytes: float
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def perplexity(self) -> float | None:
        """exp(loss), None when that is too large a number."""
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """The whole surprise in bits, over the UTF-8 bytes of the text it is about."""
        return self.loss * self.tokens / math.log(2) / max(1e-9, self.text_bytes)


@torch.inference_mode()
def evaluate(
    model: GPT,
    split: TokenSplit,
    *,
    context_length: int,
    most_tokens: int,
    byte_lengths: np.ndarray | None = None,
    documents: int | None = None,
    batch_tokens: int = 2048,
    precision: torch.dtype = torch.float32,
) -> Evaluation:
    """Measure the loss on fixed windows spread evenly over a split (see `evaluation_windows`).

    With `documents`, the id of `<|endoftext|>`, the windows hold whole documents (see `document_windows`).
    `byte_lengths[id]` is the number of bytes each id stands for; without it (a tokenizer that loses some)
    the split's average is taken. The model's mode is restored, and no random generator is touched.
    """
    starts, lengths = _windows(split, context_length, most_tokens, documents)
    rows = max(1, batch_tokens // context_length)
    device = next(model.parameters()).device
    nats, text_bytes, tokens = 0.0, 0.0, 0
    with evaluating(model):
        for first in range(0, len(starts), rows):
            ids, counted = _read(split, starts[first : first + rows], lengths[first : first + rows])
            batch = torch.from_numpy(ids).to(device)
            with autocast(device, precision):
                losses = token_losses(model, batch[:, :-1], batch[:, 1:])
            kept = losses.cpu().double()[torch.from_numpy(counted)]
            nats += kept.sum().item()
            tokens += kept.numel()
            if byte_lengths is not None:
                text_bytes += float(byte_lengths[ids[:, 1:][counted]].sum())
            else:
                text_bytes += kept.numel() * split.bytes_per_token
    return Evaluation(nats / tokens, tokens, text_bytes)


def _windows(
    split: TokenSplit, context_length: int, most_tokens: int, documents: int | None
) -> tuple[np.ndarray, np.ndarray]:
    if documents is not None:
        return document_windows(split, context_length, end_of_text=documents, most_tokens=most_tokens)
    starts = evaluation_windows(split, context_length, most_tokens=most_tokens)
    return starts, np.full_like(starts, context_length)


def _read(split: TokenSplit, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return windows as ids (N, T + 1), the shorter ones filled up, and which targets count: bool (N, T)."""
    ids = np.zeros((len(starts), int(lengths.max()) + 1), np.int64)
    for row, start, length in zip(ids, starts, lengths, strict=True):
        row[: length + 1] = split.read(int(start), int(length) + 1)
    return ids, np.arange(ids.shape[1] - 1) < lengths[:, None]
