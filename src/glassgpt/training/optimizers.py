"""Optimizers: which parameters decay, and AdamW."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from glassgpt.training.config import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """Return AdamW (Loshchilov and Hutter 2019) over the model's parameters, fused where torch can."""
    device = next(model.parameters()).device
    return torch.optim.AdamW(
        parameter_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=device.type in ("cpu", "cuda"),
    )


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split parameters into those that decay (matrices, embeddings) and those that do not.

    Biases and norm gains have one dimension; pulling them towards zero only hurts.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decaying = [parameter for parameter in parameters if parameter.ndim >= 2]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
