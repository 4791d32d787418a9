"""Norms, MLPs and positions against their formulas, and their gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from glassgpt.model.config import ModelConfig
from glassgpt.model.layers import MLP, GatedMLP, RMSNorm, make_mlp, make_norm, relu_squared
from glassgpt.model.positions import frequencies, rope_frequencies, rotate, rotation, sinusoids


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_rmsnorm_follows_its_formula():
    norm = RMSNorm(6, epsilon=1e-3).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)


def test_rmsnorm_in_bfloat16_measures_in_float32():
    x = torch.randn(4, 512)
    norm = RMSNorm(512, epsilon=1e-6)
    in_bfloat16 = norm.to(torch.bfloat16)(x.to(torch.bfloat16)).float()
    torch.testing.assert_close(in_bfloat16, F.normalize(x, dim=-1) * math.sqrt(512), atol=0.03, rtol=0.01)


def test_own_layers_pass_gradcheck():
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    norm = RMSNorm(6, epsilon=1e-6).double()
    torch.nn.init.normal_(norm.weight)
    assert gradcheck(
        lambda x, weight: torch.func.functional_call(norm, {"weight": weight}, x), (x, norm.weight)
    )
    assert gradcheck(relu_squared, x)
    turn = rotation(torch.tensor([0, 5, 9]), frequencies(6, 10000.0))
    # The float32 tables are exact enough: the derivative is of the function with these tables.
    assert gradcheck(lambda x: rotate(x.unsqueeze(1), turn), x)


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "relu2"])
def test_plain_mlp_follows_its_formula(activation: str):
    mlp = make_mlp(ModelConfig(activation=activation, n_embd=8, mlp_bias=True)).double()
    assert isinstance(mlp, MLP)
    x = torch.randn(2, 8, dtype=torch.float64)
    h = x @ mlp.up.weight.T + mlp.up.bias
    bent = {
        "relu": h.clamp(min=0),
        "relu2": h.clamp(min=0) ** 2,
        "gelu": h * 0.5 * (1 + torch.erf(h / math.sqrt(2))),
        "gelu_tanh": 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))),
    }[activation]
    torch.testing.assert_close(mlp(x), bent @ mlp.down.weight.T + mlp.down.bias)


def test_gated_mlp_follows_its_formula():
    mlp = make_mlp(ModelConfig(n_embd=8)).double()
    assert isinstance(mlp, GatedMLP)
    x = torch.randn(2, 8, dtype=torch.float64)
    gate = x @ mlp.gate.weight.T
    expected = (gate / (1 + (-gate).exp()) * (x @ mlp.up.weight.T)) @ mlp.down.weight.T
    torch.testing.assert_close(mlp(x), expected)
    assert mlp.gate.bias is None
    assert make_mlp(ModelConfig(n_embd=8, mlp_bias=True)).gate.bias is not None


def test_make_norm_follows_the_config():
    layernorm = make_norm(ModelConfig(norm="layernorm", norm_bias=True, norm_epsilon=0.1))
    assert isinstance(layernorm, torch.nn.LayerNorm)
    assert (layernorm.eps, layernorm.bias is not None) == (0.1, True)
    assert make_norm(ModelConfig(norm="layernorm")).bias is None
    assert isinstance(make_norm(ModelConfig()), RMSNorm)


def test_sinusoids_follow_the_paper():
    table = sinusoids(torch.arange(20), 8)
    for position in range(20):
        for pair in range(4):
            angle = position / 10000 ** (2 * pair / 8)
            assert table[position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_rotation_follows_the_paper():
    x = torch.randn(1, 1, 5, 6, dtype=torch.float64)
    turned = rotate(x, rotation(torch.arange(5), frequencies(6, 100.0)))
    for position in range(5):
        for pair in range(3):
            angle = position * 100.0 ** (-2 * pair / 6)
            before = torch.view_as_complex(x[0, 0, position, [pair, pair + 3]])
            after = torch.view_as_complex(turned[0, 0, position, [pair, pair + 3]])
            turn = torch.polar(torch.tensor(1.0).double(), torch.tensor(angle).double())
            torch.testing.assert_close(after, before * turn, atol=1e-6, rtol=0)


def test_rotated_products_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 1, 1, 16)

    def product(i: int, j: int) -> float:
        turned_q = rotate(q, rotation(torch.tensor([i]), frequencies(16, 10000.0)))
        turned_k = rotate(k, rotation(torch.tensor([j]), frequencies(16, 10000.0)))
        return (turned_q * turned_k).sum().item()

    assert product(3, 1) == pytest.approx(product(103, 101), abs=1e-4)
    assert product(3, 1) != pytest.approx(product(3, 2), abs=1e-3)


def test_rotation_keeps_the_dtype():
    x = torch.randn(1, 2, 3, 4, dtype=torch.bfloat16)
    assert rotate(x, rotation(torch.arange(3), frequencies(4, 10000.0))).dtype == torch.bfloat16


def test_scaled_waves():
    """Llama 3 leaves fast waves unchanged, slows slow ones by the factor, and those in between in part."""
    plain = {"n_head": 1, "n_embd": 32}
    base = rope_frequencies(ModelConfig(**plain))
    assert torch.equal(base, frequencies(32, 10000.0))
    linear = rope_frequencies(ModelConfig(**plain, rope_scaling="linear", rope_factor=4.0))
    torch.testing.assert_close(linear, base / 4)
    llama3 = ModelConfig(**plain, rope_scaling="llama3", rope_factor=4.0, rope_original_length=64)
    slowed = base / rope_frequencies(llama3)
    assert slowed[0] == 1
    assert slowed[-1] == 4
    assert (slowed.diff() >= 0).all()
    assert ((slowed > 1) & (slowed < 4)).any()


def test_rows_with_their_own_positions_turn_as_each_would_alone() -> None:
    torch.manual_seed(0)
    x_BHTD = torch.randn(2, 3, 4, 8)
    positions_BT = torch.tensor([[0, 1, 2, 3], [9, 10, 11, 12]])
    turned = rotate(x_BHTD, rotation(positions_BT, frequencies(8, 10000.0)))
    for row in range(2):
        alone = rotate(x_BHTD[row : row + 1], rotation(positions_BT[row], frequencies(8, 10000.0)))
        torch.testing.assert_close(turned[row : row + 1], alone, rtol=0, atol=0)
