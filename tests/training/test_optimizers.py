"""AdamW against its paper, written out in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.training.config import TrainingConfig
from glassgpt.training.optimizers import make_optimizer, parameter_groups, set_learning_rate


def model() -> GPT:
    torch.manual_seed(0)
    shape = {"vocab_size": 11, "context_length": 8, "n_layer": 2, "n_head": 2, "n_embd": 16}
    return GPT(ModelConfig(**shape, qkv_bias=True, mlp_bias=True, positions="learned")).double()


class PaperAdamW:
    """Loshchilov and Hutter 2019, algorithm 2, for one tensor; t counts from 1."""

    def __init__(self, weight: torch.Tensor, config: TrainingConfig) -> None:
        self.weight, self.config, self.t = weight.clone(), config, 0
        self.mean, self.square = torch.zeros_like(weight), torch.zeros_like(weight)

    def step(self, gradient: torch.Tensor, rate: float) -> None:
        c, self.t = self.config, self.t + 1
        self.mean = c.beta1 * self.mean + (1 - c.beta1) * gradient
        self.square = c.beta2 * self.square + (1 - c.beta2) * gradient**2
        mean, square = self.mean / (1 - c.beta1**self.t), self.square / (1 - c.beta2**self.t)
        decay = c.weight_decay if self.weight.ndim >= 2 else 0.0
        self.weight = self.weight - rate * (mean / (square.sqrt() + c.epsilon) + decay * self.weight)


def test_adamw_is_that_of_the_paper():
    net = model()
    config = TrainingConfig(beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=0.3)
    optimizer = make_optimizer(net, config)
    paper = {name: PaperAdamW(weight.detach(), config) for name, weight in net.named_parameters()}
    assert {parameter.weight.ndim for parameter in paper.values()} == {1, 2}
    for rate in (1e-2, 3e-2, 1e-3, 0.5):
        set_learning_rate(optimizer, rate)
        for name, weight in net.named_parameters():
            weight.grad = torch.randn_like(weight)
            paper[name].step(weight.grad, rate)
        optimizer.step()
    for name, weight in net.named_parameters():
        torch.testing.assert_close(weight.detach(), paper[name].weight, rtol=1e-12, atol=1e-13)


def test_matrices_decay_and_vectors_do_not():
    net = model()
    decaying, others = parameter_groups(net, 0.1)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    names = {id(weight): name for name, weight in net.named_parameters()}
    kept = {names[id(weight)] for weight in others["params"]}
    assert all(name.endswith("bias") or "norm" in name for name in kept)
    assert len(decaying["params"]) + len(kept) == len(names)
    assert not any("norm" in names[id(weight)] for weight in decaying["params"])


def test_frozen_parameters_are_left_out():
    net = model()
    for name, weight in net.named_parameters():
        weight.requires_grad = name == "final_norm.weight"
    groups = parameter_groups(net, 0.1)
    assert [len(group["params"]) for group in groups] == [1]
    assert groups[0]["params"][0] is net.final_norm.weight


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_the_rate_is_set_for_every_group(rate: float):
    optimizer = make_optimizer(nn.Linear(2, 2), TrainingConfig())
    set_learning_rate(optimizer, rate)
    assert [group["lr"] for group in optimizer.param_groups] == [rate, rate]
