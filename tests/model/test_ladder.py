"""Each step of the ladder does what its text says, and the last is the model's attention."""

from __future__ import annotations

import math

import pytest
import torch

from glassgpt.model.attention import Attention
from glassgpt.model.config import ModelConfig
from glassgpt.model.ladder import (
    CausalAttention,
    FusedAttention,
    SelfAttention,
    SideBySideHeads,
    fuse,
    simplified_attention,
)


@pytest.fixture
def x_BTC() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 7, 12)


def test_step_1_is_a_mean_weighted_by_similarity():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    e, e4 = math.exp(1), math.exp(4)
    expected = torch.tensor([[e / (e + 1), 2 / (e + 1)], [1 / (1 + e4), 2 * e4 / (1 + e4)]])
    torch.testing.assert_close(simplified_attention(x), expected)


def test_step_2_is_torchs_attention_over_its_three_roles(x_BTC: torch.Tensor):
    step = SelfAttention(12, 5)
    expected = torch.nn.functional.scaled_dot_product_attention(
        step.query(x_BTC), step.key(x_BTC), step.value(x_BTC)
    )
    torch.testing.assert_close(step(x_BTC), expected)


def test_step_3_hides_the_future(x_BTC: torch.Tensor):
    step = CausalAttention(12, 5)
    for tokens in range(1, 8):
        torch.testing.assert_close(step(x_BTC[:, :tokens])[:, -1], step(x_BTC)[:, tokens - 1])
    last = SelfAttention(12, 5)
    last.load_state_dict(step.state_dict())
    torch.testing.assert_close(step(x_BTC)[:, -1], last(x_BTC)[:, -1])
    assert not torch.allclose(step(x_BTC)[:, 0], last(x_BTC)[:, 0])


def test_step_3_drops_weights_in_training_only(x_BTC: torch.Tensor):
    step = CausalAttention(12, 5, dropout=0.5)
    assert not torch.equal(step(x_BTC), step(x_BTC))
    step.eval()
    assert torch.equal(step(x_BTC), step(x_BTC))


def test_step_4_joins_its_heads(x_BTC: torch.Tensor):
    step = SideBySideHeads(12, heads=3)
    parts = [head(x_BTC) for head in step.heads]
    assert [part.shape[-1] for part in parts] == [4, 4, 4]
    torch.testing.assert_close(step(x_BTC), step.output(torch.cat(parts, dim=-1)))


def test_step_5_equals_step_4(x_BTC: torch.Tensor):
    step = SideBySideHeads(12, heads=3)
    fused = fuse(step)
    torch.testing.assert_close(fused(x_BTC), step(x_BTC))
    assert fuse(step.eval()).training is False
    assert fuse(SideBySideHeads(12, heads=3, dropout=0.3)).dropout.p == 0.3


def test_step_5_is_the_models_attention(x_BTC: torch.Tensor):
    config = ModelConfig(n_embd=12, n_head=3, positions="none", qk_norm=False)
    attention = Attention(config, layer=0)
    step = FusedAttention(12, heads=3)
    step.load_state_dict(attention.state_dict())  # the same names and shapes
    torch.testing.assert_close(step(x_BTC), attention(x_BTC))
