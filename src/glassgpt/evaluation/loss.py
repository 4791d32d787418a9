"""How well a model predicts text it was not trained on.

The loss alone cannot be compared between tokenizers: one with longer tokens makes fewer, harder predictions. Bits per
byte can: it spreads the same surprise over the bytes of the text, which no tokenizer changes. Perplexity, exp(loss),
is the number of equally likely tokens that the model hesitates between.

Text that is not in the vocabulary becomes the unknown token, which is always the same and easy to predict. To restore
the text one would have to spell it out, so each of its bytes costs 8 further bits: gaps in a vocabulary never improve
a figure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from glassgpt.dataset.batches import document_windows, evaluation_windows
from glassgpt.dataset.shards import TokenSplit
from glassgpt.errors import EvaluationError
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.summary import forward_bytes
from glassgpt.tokenizers.special import unknown_line
from glassgpt.training.fits import MEASURED_TOKENS, refuse_measuring
from glassgpt.training.losses import perplexity, token_losses
from glassgpt.training.trainer import autocast


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A measured loss. `tokens` and `text_bytes` are the size of the text; `unknown` counts its unknown tokens."""

    loss: float  # mean nats a token
    tokens: int
    text_bytes: float
    unknown: int = 0  # tokens
    unknown_bytes: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def perplexity(self) -> float | None:
        """exp(loss), None when that number is too large."""
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float | None:
        """The total surprise in bits, with unknown parts spelled out, divided by the UTF-8 bytes of the predicted text.

        None where no text was predicted, such as only the end of a document.
        """
        if not self.text_bytes:
            return None
        return (self.loss * self.tokens / math.log(2) + 8 * self.unknown_bytes) / self.text_bytes


@dataclass(frozen=True, slots=True)
class Unknown:
    """The id of the unknown token, and the mean number of UTF-8 bytes of text that one stands for."""

    id: int
    bytes_each: float


def unknown_in(split: TokenSplit, id: int | None, byte_lengths: np.ndarray) -> Unknown | None:
    """Return what the unknown tokens of a split stand for: the bytes of no other token. None without unknown tokens."""
    if id is None:
        return None
    counts = split.counts(len(byte_lengths))
    if not counts[id]:
        return None
    known = counts @ byte_lengths - counts[id] * byte_lengths[id]
    return Unknown(id, max(0.0, float(split.text_bytes - known)) / float(counts[id]))


@torch.inference_mode()
def evaluate(
    model: GPT,
    split: TokenSplit,
    *,
    context_length: int,
    max_tokens: int,
    byte_lengths: np.ndarray | None = None,
    documents: int | None = None,
    unknown: Unknown | None = None,
    batch_tokens: int = MEASURED_TOKENS,
    precision: torch.dtype = torch.float32,
) -> Evaluation:
    """Measure the loss on fixed windows spread evenly over a split (see `evaluation_windows`).

    With `documents`, the id of `<|endoftext|>`, the windows hold whole documents (see `document_windows`).
    `byte_lengths[id]` is the number of bytes of each id; without it (a tokenizer that loses some) the split's average
    is taken. `unknown` is the cost of unknown tokens. The model's mode is restored, and no random generator is used.
    Raises `EvaluationError` where there is no token to predict, `MemoryFullError` where a batch needs more memory than
    is free.
    """
    starts, lengths = _windows(split, context_length, max_tokens, documents)
    rows = max(1, batch_tokens // context_length)
    device = next(model.parameters()).device
    _refuse_what_does_not_fit(model, device, min(rows, len(starts)), int(lengths.max(initial=1)))
    nats, text_bytes, tokens, unknown_tokens = 0.0, 0.0, 0, 0
    with evaluating(model):
        for first in range(0, len(starts), rows):
            ids, counted = _read(split, starts[first : first + rows], lengths[first : first + rows])
            batch = torch.from_numpy(ids).to(device)
            with autocast(device, precision):
                losses = token_losses(model, batch[:, :-1], batch[:, 1:])
            kept = losses.cpu().double()[torch.from_numpy(counted)]
            nats += kept.sum().item()
            tokens += kept.numel()
            if unknown is not None:
                unknown_tokens += int((ids[:, 1:][counted] == unknown.id).sum())
            if byte_lengths is not None:
                text_bytes += float(byte_lengths[ids[:, 1:][counted]].sum())
            else:
                text_bytes += kept.numel() * split.bytes_per_token
    if not tokens:
        raise EvaluationError(
            "There is no token to predict: the text is empty. Give more text to measure on."
        )
    unknown_bytes = unknown_tokens * unknown.bytes_each if unknown else 0.0
    if byte_lengths is not None:
        text_bytes += unknown_bytes
    return Evaluation(nats / tokens, tokens, text_bytes, unknown_tokens, unknown_bytes)


def refuse_no_figure(result: Evaluation, kind: str, where: str) -> None:
    """Raise `EvaluationError` where a measured figure would say nothing about the text `where`.

    That is the case where no text was predicted, and where most of it is not in a vocabulary of this `kind`.
    """
    if result.bits_per_byte is None or result.tokens < 2:
        raise EvaluationError(
            f"There is no figure for {where}: no part of its text can be predicted from earlier text. Give more "
            "text to measure on."
        )
    if result.unknown > result.tokens / 2:
        raise EvaluationError(
            f"There is no figure for {where}: {unknown_line(result.unknown, result.tokens, kind)} A figure would be "
            "about that token, not about the text. Measure on text like the one that the run was trained on, or train "
            "a run with --tokenizer.kind bpe, which can represent any text."
        )


def _refuse_what_does_not_fit(model: GPT, device: torch.device, rows: int, length: int) -> None:
    need = forward_bytes(model.config, batch_size=rows, length=length, device=device.type)
    refuse_measuring(model, need, rows * length)


def _windows(
    split: TokenSplit, context_length: int, max_tokens: int, documents: int | None
) -> tuple[np.ndarray, np.ndarray]:
    if documents is not None:
        return document_windows(split, context_length, end_of_text=documents, max_tokens=max_tokens)
    starts = evaluation_windows(split, context_length, max_tokens=max_tokens)
    return starts, np.full_like(starts, context_length)


def _read(split: TokenSplit, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return windows as ids (N, T + 1), shorter ones padded, and which targets count: bool (N, T)."""
    ids = np.zeros((len(starts), int(lengths.max()) + 1), np.int64)
    for row, start, length in zip(ids, starts, lengths, strict=True):
        row[: length + 1] = split.read(int(start), int(length) + 1)
    return ids, np.arange(ids.shape[1] - 1) < lengths[:, None]
