"""Losses: functions of (model, inputs, targets) that the one Trainer is given."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# inputs and targets are int64 (B, T); the result is a scalar: the mean over all B*T targets, in nats.
LossFunction = Callable[[nn.Module, Tensor, Tensor], Tensor]


def next_token_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of `targets` (B, T) under the model's logits (B, T, V), in nats.

    The softmax runs in float32 whatever the model computes in.
    """
    logits = model(inputs)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def token_losses(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each target as (B, T), in nats; for measuring, not for training."""
    logits = model(inputs)
    losses = F.cross_entropy(logits.flatten(0, 1).to(torch.float32), targets.flatten(), reduction="none")
    return losses.view_as(targets)
