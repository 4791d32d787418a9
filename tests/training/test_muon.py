"""Muon against singular value decompositions in float64, and against its formula written out."""

from __future__ import annotations

import math

import pytest
import torch

from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.training.config import TrainingConfig
from glassgpt.training.muon import Muon, orthogonalize
from glassgpt.training.optimizers import OptimizerPair, make_optimizer, matrix_groups, set_learning_rate


def gpt(**settings) -> GPT:
    torch.manual_seed(0)
    shape = {"vocab_size": 11, "context_length": 8, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 16}
    return GPT(ModelConfig(**{**shape, **settings}))


def polynomial(singular: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """What the iteration does to singular values, with the numbers of Jordan et al."""
    for _ in range(rounds):
        singular = 3.4445 * singular - 4.7750 * singular**3 + 2.0315 * singular**5
    return singular


@pytest.mark.parametrize("shape", [(12, 12), (20, 8), (8, 20), (1, 5), (5, 1)])
def test_the_iteration_acts_on_singular_values_alone(shape) -> None:
    torch.manual_seed(1)
    batch = torch.randn(3, *shape, dtype=torch.float64)
    got = orthogonalize(batch)
    for matrix, result in zip(batch, got, strict=True):
        u, s, vt = torch.linalg.svd(matrix / (torch.linalg.matrix_norm(matrix) + 1e-7), full_matrices=False)
        torch.testing.assert_close(result, u @ torch.diag(polynomial(s)) @ vt, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shape", [(64, 64), (128, 48), (48, 128)])
def test_float32_comes_near_the_orthogonal_factor(shape) -> None:
    torch.manual_seed(2)
    got = torch.linalg.svdvals(orthogonalize(torch.randn(1, *shape))[0].double())
    assert got.max() < 1.25
    assert got[: int(0.9 * len(got))].min() > 0.6  # the very smallest may need more rounds
    zero = orthogonalize(torch.zeros(1, *shape))
    assert torch.equal(zero, torch.zeros(1, *shape))


def test_steps_follow_the_formula() -> None:
    """Nesterov momentum, an orthogonal step scaled up for tall matrices, decoupled decay: two steps by hand."""
    torch.manual_seed(3)
    weight = torch.nn.Parameter(torch.randn(6, 4, dtype=torch.float64))
    optimizer = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.2)
    expected, momentum = weight.detach().clone(), torch.zeros(6, 4, dtype=torch.float64)
    for _ in range(2):
        weight.grad = torch.randn(6, 4, dtype=torch.float64)
        momentum = 0.9 * momentum + 0.1 * weight.grad
        update = 0.1 * weight.grad + 0.9 * momentum
        expected = expected * (1 - 0.1 * 0.2) - 0.1 * math.sqrt(6 / 4) * orthogonalize(update[None])[0]
        optimizer.step()
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-10, atol=1e-12)


def test_stacked_matrices_are_made_orthogonal_one_by_one() -> None:
    torch.manual_seed(4)
    whole = torch.nn.Parameter(torch.zeros(8, 4))
    parts = [
        torch.nn.Parameter(torch.zeros(4, 4)),
        torch.nn.Parameter(torch.zeros(2, 4)),
        torch.nn.Parameter(torch.zeros(2, 4)),
    ]
    gradient = torch.randn(8, 4)
    whole.grad = gradient
    for part, rows in zip(parts, gradient.split((4, 2, 2)), strict=True):
        part.grad = rows.clone()
    Muon([{"params": [whole], "rows": (4, 2, 2)}], lr=1.0).step()
    Muon(parts, lr=1.0).step()
    torch.testing.assert_close(whole.detach(), torch.cat([part.detach() for part in parts]))


@pytest.mark.parametrize("settings", [{}, {"activation": "relu", "tied_head": False, "mlp_bias": True}])
def test_every_weight_is_in_one_optimizer_and_only_block_matrices_in_muon(settings) -> None:
    model = gpt(**settings)
    pair = make_optimizer(model, TrainingConfig(optimizer="muon"))
    assert isinstance(pair, OptimizerPair)
    names = {id(weight): name for name, weight in model.named_parameters()}
    muon, adamw = (
        {names[id(weight)] for group in optimizer.param_groups for weight in group["params"]}
        for optimizer in pair.pair
    )
    assert muon == {
        name for name, weight in model.named_parameters() if "blocks" in name and weight.ndim == 2
    }
    assert muon | adamw == set(names.values())
    assert not muon & adamw


def test_one_rate_moves_both_in_proportion() -> None:
    pair = make_optimizer(
        gpt(), TrainingConfig(optimizer="muon", learning_rate=0.01, matrix_learning_rate=0.05)
    )
    set_learning_rate(pair, 0.002)
    rates = [{group["lr"] for group in optimizer.param_groups} for optimizer in pair.pair]  # pyright: ignore
    assert [rate for (rate,) in rates] == pytest.approx([0.01, 0.002])


def test_a_pair_put_back_steps_on_as_if_nothing_had_happened() -> None:
    def run(interrupt: bool) -> dict[str, torch.Tensor]:
        model = gpt().double()
        config = TrainingConfig(optimizer="muon", weight_decay=0.1, matrix_weight_decay=0.1)
        optimizer = make_optimizer(model, config)
        for step in range(4):
            if interrupt and step == 2:
                state, optimizer = optimizer.state_dict(), make_optimizer(model, config)
                optimizer.load_state_dict({"state": state["state"], "param_groups": state["param_groups"]})
            set_learning_rate(optimizer, 0.01 / (step + 1))
            generator = torch.Generator().manual_seed(step)
            for weight in model.parameters():
                weight.grad = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            optimizer.step()
        return model.state_dict()

    straight, resumed = run(False), run(True)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_queries_of_wide_heads_are_a_matrix_of_their_own_size():
    config = ModelConfig(
        vocab_size=11, context_length=8, n_layer=1, n_head=2, n_kv_head=1, n_embd=8, n_head_dim=6
    )
    fused = matrix_groups(GPT(config))[0]
    assert fused["rows"] == (12, 6, 6)
    assert sum(fused["rows"]) == len(fused["params"][0])
