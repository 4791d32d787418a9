"""Losses: functions of (model, inputs, targets) that are passed to the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassgpt.model.gpt import GPT
from glassgpt.model.logits import CHUNK_BYTES, SMALL_LOGITS
from glassgpt.training.linear_cross_entropy import linear_cross_entropy, linear_token_losses

# Given the model and the tensors of a batch, it returns a scalar: the mean over what counts in that batch (tokens,
# pairs, rows). `Job.counted` returns that number, so that an update is one mean over all its batches. In pretraining
# the tensors are inputs and targets, int64 (B, T), and all B*T targets count, in nats.
LossFunction = Callable[..., Tensor]


def perplexity(loss: float) -> float | None:
    """Return exp(loss): the number of equally likely tokens that the model hesitates between.

    None where that is not finite: a diverged run has no perplexity, and JSON has no infinity.
    """
    try:
        found = math.exp(loss)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def next_token_loss(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of `targets` (B, T) under the model's logits (B, T, V), in nats.

    The softmax runs in float32 at any precision of the model. Large logits are never held all at once.
    """
    return model(inputs, then=lambda model, hidden: hidden_loss(model, hidden, targets))


def hidden_loss(model: GPT, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of all `targets` (...) after `hidden` (..., C), in nats."""
    if 4 * targets.numel() * len(model.head_weight) <= SMALL_LOGITS:
        return F.cross_entropy(model.logits(hidden).flatten(0, -2).float(), targets.flatten())
    return linear_cross_entropy(hidden, model.head_weight, targets, model.head_bias)


def token_losses(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each target as (B, T), in nats; for measuring, not for training."""
    return model(inputs, then=lambda model, hidden: token_losses_of(model, hidden, targets))


def token_losses_of(model: GPT, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each of `targets` (...) after `hidden` (..., C); also for measuring only."""
    if model.head is None or isinstance(model.head, nn.Linear):
        return linear_token_losses(hidden, model.head_weight, targets, model.head_bias)
    # A head in 8 bits has no matrix to pass on: it makes the logits itself.
    rows_NC, targets_N = hidden.flatten(0, -2), targets.flatten()
    at_once = max(1, CHUNK_BYTES[hidden.device.type] // (2 * 4 * model.config.vocab_size))
    parts = zip(rows_NC.split(at_once), targets_N.split(at_once), strict=True)
    losses = [F.cross_entropy(model.logits(rows).float(), of, reduction="none") for rows, of in parts]
    return torch.cat(losses).view(targets.shape)
