"""Int8 weights: within the bound of the formula, equal to float64 by hand, and the model hardly changed."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from glassgpt.model import stored
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.int8 import Int8Linear, has_integer_kernel, quantize, round_rows

TINY = {"vocab_size": 61, "context_length": 16, "n_layer": 2, "n_head": 2, "n_embd": 32}
FAST = has_integer_kernel(torch.zeros(1))


@given(
    seed=st.integers(0, 1000), size=st.floats(1e-6, 1e6), rows=st.integers(1, 9), columns=st.integers(1, 40)
)
def test_no_weight_is_off_by_more_than_half_a_step_of_its_row(seed, size, rows, columns):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * size
    weight[0] = 0  # a row of zeros stays one
    rounded, scale = round_rows(weight)
    error = (weight.double() - rounded.double() * scale.double().unsqueeze(-1)).abs()
    step = weight.double().abs().amax(-1, keepdim=True) / 127
    assert rounded.dtype == torch.int8
    assert (error <= step * 0.5001).all()
    assert (rounded[1:].abs().amax(-1) == 127).all()  # the whole range is used


def test_the_widened_product_is_the_formula():
    torch.manual_seed(0)
    linear, x = nn.Linear(24, 7).double(), torch.randn(3, 5, 24).double()
    scale = linear.weight.abs().amax(-1) / 127
    by_hand = x @ ((linear.weight / scale[:, None]).round() * scale[:, None]).T + linear.bias
    torch.testing.assert_close(Int8Linear(linear.weight, linear.bias)(x), by_hand, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not FAST, reason="this build of torch has no fbgemm")
@pytest.mark.parametrize("bias", [True, False])
def test_the_integer_product_is_off_by_no_more_than_its_roundings_allow(bias):
    """Inputs rounded to 7 bits over their range: each off by at most half of range / 127, times |W|."""
    torch.manual_seed(1)
    linear, x = nn.Linear(64, 20, bias=bias), torch.randn(9, 64)
    widened = Int8Linear(linear.weight, linear.bias)(x)
    integer = Int8Linear(linear.weight, linear.bias, packed=True)(x)
    step = (x.max().clamp(min=0) - x.min().clamp(max=0)) / 127
    bound = 0.51 * step * linear.weight.abs().sum(-1)
    assert ((widened - integer).abs() <= bound).all()
    assert not torch.equal(widened, integer)


@pytest.mark.parametrize("tied", [True, False])
def test_every_matrix_is_replaced_and_the_embedding_kept(tied):
    torch.manual_seed(2)
    model = GPT(ModelConfig(**TINY, tied_head=tied)).eval()
    embedding = model.token_embedding.weight.clone()
    ids = torch.randint(61, (2, 16))
    before = model(ids)
    assert quantize(model) is model
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    assert sum(isinstance(module, Int8Linear) for module in model.modules()) == 2 * 5 + 1
    assert torch.equal(model.token_embedding.weight, embedding)
    error = (model(ids) - before).norm() / before.norm()
    assert 0 < error < 0.05


@pytest.mark.parametrize("numba", [True, False])
def test_with_numba_the_matrices_stay_as_the_loops_read_them(numba, monkeypatch):
    """Beside fbgemm's copy they would take twice the memory; without numba fbgemm is several times as fast."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: (numba or None) if name == "numba" else found(name)
    )
    model = quantize(GPT(ModelConfig(**TINY)))
    packed = {module.is_packed for module in model.modules() if isinstance(module, Int8Linear)}
    assert packed == {FAST and not numba}


def test_a_matrix_larger_than_what_is_converted_at_once(monkeypatch):
    torch.manual_seed(0)
    linear, x = Int8Linear(torch.randn(50, 8), torch.randn(50)), torch.randn(3, 8)
    whole = linear(x)
    monkeypatch.setattr(stored, "CONVERTED_AT_ONCE", 60)
    torch.testing.assert_close(linear(x), whole)


def test_bfloat16_weights_are_rounded_to_8_bits_of_precision():
    torch.manual_seed(2)
    model, ids = GPT(ModelConfig(**TINY)).eval(), torch.randint(61, (2, 16))
    before, state = model(ids), list(model.state_dict())
    assert stored.halve(model) is model
    error = (model(ids) - before).norm() / before.norm()
    assert 0 < error < 0.005
    assert model(ids).dtype == torch.float32
    # As in memory, not what is saved.
    assert set(model.state_dict()) < set(state)
    matrix = model.blocks[0].get_submodule("mlp.up").matrix_NC
    assert matrix.dtype == torch.bfloat16


def test_float64_and_half_take_the_widened_way():
    model = quantize(GPT(ModelConfig(**TINY)).double())
    assert model(torch.zeros(1, 4, dtype=torch.int64)).dtype == torch.float64
