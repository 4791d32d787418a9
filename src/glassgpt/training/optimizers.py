"""Optimizers: AdamW for all weights, or Muon for the matrices of the blocks and AdamW for the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from glassgpt.model.gpt import GPT
from glassgpt.training.config import LoopConfig
from glassgpt.training.muon import Muon
from glassgpt.training.parts import OPTIMIZERS


class OptimizerPair(Optimizer):
    """Two optimizers over different weights that step, save and load as one optimizer."""

    def __init__(self, first: Optimizer, second: Optimizer) -> None:
        self.pair = (first, second)
        super().__init__([*first.param_groups, *second.param_groups], {})
        self.param_groups = [*first.param_groups, *second.param_groups]  # the same ones, not copies

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step both optimizers."""
        assert closure is None
        for optimizer in self.pair:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both; the weights of the second are numbered after those of the first."""
        first, second = (optimizer.state_dict() for optimizer in self.pair)
        offset = self._first_weights
        state = first["state"] | {offset + index: slots for index, slots in second["state"].items()}
        return {"state": state, "param_groups": first["param_groups"] + second["param_groups"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        offset, state = self._first_weights, state_dict["state"]
        states = (
            {index: slots for index, slots in state.items() if index < offset},
            {index - offset: slots for index, slots in state.items() if index >= offset},
        )
        for optimizer, own in zip(self.pair, states, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": own, "param_groups": groups})
        self.param_groups = [group for optimizer in self.pair for group in optimizer.param_groups]

    @property
    def _first_weights(self) -> int:
        return sum(len(group["params"]) for group in self.pair[0].param_groups)


def make_optimizer(model: GPT, config: LoopConfig) -> Optimizer:
    """Return the optimizer that `config` names over the model's weights (see `training.parts`).

    Each group has a `rate`: its peak learning rate over `config.learning_rate`.
    """
    return OPTIMIZERS[config.optimizer].make(model, config)


def adamw(model: nn.Module, config: LoopConfig) -> Optimizer:
    """Return AdamW for all weights."""
    return _adamw(parameter_groups(model, config.weight_decay), config)


def muon(model: GPT, config: LoopConfig) -> Optimizer:
    """Return Muon for the matrices of the blocks and AdamW for the rest."""
    first = Muon(
        matrix_groups(model),
        lr=config.matrix_learning_rate,
        momentum=config.momentum,
        weight_decay=config.matrix_weight_decay,
    )
    for group in first.param_groups:
        group["rate"] = config.matrix_learning_rate / config.learning_rate
    taken = {id(weight) for group in first.param_groups for weight in group["params"]}
    groups = parameter_groups(model, config.weight_decay)
    for group in groups:
        group["params"] = [weight for weight in group["params"] if id(weight) not in taken]
    left = [group for group in groups if group["params"]]
    return OptimizerPair(first, _adamw(left, config)) if left else first  # all LoRA weights are matrices


def _adamw(groups: list[dict[str, Any]], config: LoopConfig) -> Optimizer:
    """Return AdamW (Loshchilov and Hutter 2019), fused where torch can."""
    device = groups[0]["params"][0].device
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=device.type in ("cpu", "cuda"),
    )


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split parameters into those that decay (matrices, embeddings) and those that do not.

    Biases and norm gains have one dimension; decaying them only hurts.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decaying = [parameter for parameter in parameters if parameter.ndim >= 2]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def matrix_groups(model: GPT) -> list[dict[str, Any]]:
    """Return the matrices of the blocks for Muon; the fused projection counts as separate queries, keys and values."""
    config = model.config
    matrices = {name: weight for name, weight in model.blocks.named_parameters() if weight.ndim == 2}
    fused = [weight for name, weight in matrices.items() if name.endswith("attention.qkv.weight")]
    others = [weight for name, weight in matrices.items() if not name.endswith("attention.qkv.weight")]
    key_width = config.kv_heads * config.head_dim
    groups = [{"params": fused, "rows": (config.attention_width, key_width, key_width)}, {"params": others}]
    for group in groups:
        group["params"] = [weight for weight in group["params"] if weight.requires_grad]
    return [group for group in groups if group["params"]]


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group, in proportion to its `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate", 1.0)
