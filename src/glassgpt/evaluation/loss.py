"""How well a model predicts text it was not trained on.

The loss alone cannot be compared between tokenizers: one with longer tokens has fewer, harder guesses.
Bits per byte can: it spreads the same surprise over the bytes of the text, which no tokenizer changes.
Perplexity, exp(loss), is how many equally likely tokens the model hesitates between.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from glassgpt.dataset.batches import evaluation_windows
from glassgpt.dataset.shards import TokenSplit
from glassgpt.training.losses import token_losses
from glassgpt.training.trainer import autocast


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A measured loss. `tokens` and `text_bytes` tell on how much text."""

    loss: float  # mean nats a token
    tokens: int
    text_bytes: float

    @property
    def perplexity(self) -> float:
        """exp(loss), infinite when that is too large a number."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """The whole surprise in bits, over the UTF-8 bytes of the text it is about."""
        return self.loss * self.tokens / math.log(2) / max(1e-9, self.text_bytes)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: TokenSplit,
    *,
    context_length: int,
    most_tokens: int,
    byte_lengths: np.ndarray | None = None,
    batch_tokens: int = 16_384,
    precision: torch.dtype = torch.float32,
) -> Evaluation:
    """Measure the loss on fixed windows spread evenly over a split (see `evaluation_windows`).

    `byte_lengths[id]` is the number of bytes each id stands for; without it (a tokenizer that loses some)
    the split's average is taken. The model's mode is restored, and no random generator is touched.
    """
    starts = evaluation_windows(split, context_length, most_tokens=most_tokens)
    rows = max(1, batch_tokens // context_length)
    device = next(model.parameters()).device
    nats, text_bytes, tokens = 0.0, 0.0, 0
    with _evaluation_mode(model):
        for first in range(0, len(starts), rows):
            ids = np.stack(
                [split.read(int(start), context_length + 1) for start in starts[first : first + rows]]
            )
            batch = torch.from_numpy(ids).to(device)
            with autocast(device, precision):
                losses = token_losses(model, batch[:, :-1], batch[:, 1:])
            nats += losses.double().sum().item() if device.type != "mps" else losses.sum().item()
            tokens += losses.numel()
            if byte_lengths is not None:
                text_bytes += float(byte_lengths[ids[:, 1:]].sum())
            else:
                text_bytes += losses.numel() * split.bytes_per_token
    return Evaluation(nats / tokens, tokens, text_bytes)


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
