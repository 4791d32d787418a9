"""Masks against brute force, causality, and the ladder's last step against the model's attention."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import ModelError
from glassgpt.model.attend import attend
from glassgpt.model.attention import Attention, attention_mask, visible
from glassgpt.model.config import POSITIONS, ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.positions import rope_frequencies, rotation

REACHES = {
    "full": {},
    "sliding": {"attention": "sliding", "window": 3},
    "strided": {"attention": "strided", "window": 2, "stride": 4},
}
CPU = torch.device("cpu")


def sees(config: ModelConfig, query: int, key: int) -> bool:
    """The definition, one pair at a time."""
    if key > query:
        return False
    if config.attention == "full":
        return True
    if config.attention == "sliding":
        return key > query - config.window
    return key > query - config.local_window or (query - key) % config.stride == 0


@given(
    reach=st.sampled_from(["full", "sliding", "strided"]),
    window=st.integers(1, 12),
    stride=st.integers(1, 6),
    held=st.integers(0, 10),
    new=st.integers(1, 10),
)
@settings(deadline=None)
def test_masks_equal_brute_force(reach: str, window: int, stride: int, held: int, new: int):
    reaches = {"sliding": {"window": window}, "strided": {"window": window, "stride": stride}}.get(reach, {})
    config = ModelConfig(attention=reach, **reaches)
    total = held + new
    expected = torch.tensor([[sees(config, q, k) for k in range(total)] for q in range(held, total)])
    torch.testing.assert_close(visible(config, torch.arange(held, total), torch.arange(total)), expected)
    mask = attention_mask(config, held, new, CPU)
    if mask is None and held == 0:  # plainly causal
        mask = torch.ones(new, total, dtype=torch.bool).tril()
    elif mask is None:  # one token that sees everything
        mask = torch.ones(1, total, dtype=torch.bool)
    torch.testing.assert_close(mask, expected)


def test_plain_cases_take_the_fast_path():
    sliding = ModelConfig(attention="sliding", window=8)
    assert attention_mask(ModelConfig(), 0, 20, CPU) is None
    assert attention_mask(ModelConfig(), 7, 1, CPU) is None
    assert attention_mask(ModelConfig(), 7, 2, CPU) is not None
    assert attention_mask(sliding, 0, 8, CPU) is None
    assert attention_mask(sliding, 0, 9, CPU) is not None
    assert attention_mask(sliding, 8, 1, CPU) is not None


@pytest.mark.parametrize(("reach", "kv_heads"), list(itertools.product(REACHES, (1, 2, 4))))
def test_attention_equals_loops(reach: str, kv_heads: int):
    """Head by head, query by query, key by key, from the projections on."""
    torch.manual_seed(1)
    config = ModelConfig(n_embd=16, n_head=4, n_kv_head=kv_heads, positions="none", **REACHES[reach])
    attention = Attention(config, layer=0).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    q, k, v = attention.project(x)
    mixed = torch.zeros(2, 9, 4, 4, dtype=torch.float64)
    for b, head, i in itertools.product(range(2), range(4), range(9)):
        shared = head // (4 // kv_heads)
        keys = [j for j in range(9) if sees(config, i, j)]
        scores = torch.stack([q[b, head, i] @ k[b, shared, j] / math.sqrt(4) for j in keys])
        weights = scores.exp() / scores.exp().sum()
        mixed[b, i, head] = sum(w * v[b, shared, j] for w, j in zip(weights, keys, strict=True))
    mask = attention_mask(config, 0, 9, CPU)
    torch.testing.assert_close(attention(x, mask_TS=mask), mixed.flatten(2) @ attention.output.weight.T)
    weights = attention.weights(x, mask_TS=mask)
    torch.testing.assert_close((weights @ _for_heads(v, 4)).transpose(1, 2), mixed)


def _for_heads(v_BKTD: torch.Tensor, heads: int) -> torch.Tensor:
    return v_BKTD.repeat_interleave(heads // v_BKTD.shape[1], dim=1)


def test_attention_alone_says_what_it_needs():
    """It once left rotary positions and windows out without a word."""
    x = torch.randn(1, 9, 16)
    rotary = Attention(ModelConfig(n_embd=16, n_head=2), layer=0)
    for call in (rotary, rotary.weights):
        with pytest.raises(ModelError, match="rotation=rotation"):
            call(x)
    turned = rotation(torch.arange(9), rope_frequencies(rotary.config))
    assert not torch.allclose(rotary(x, rotation=turned), rotary.output(_unrotated(rotary, x)))
    assert rotary.weights(x, rotation=turned).sum(-1).allclose(torch.ones(1, 2, 9))
    sliding = Attention(ModelConfig(n_embd=16, n_head=2, positions="none", **REACHES["sliding"]), layer=0)
    for call in (sliding, sliding.weights):
        with pytest.raises(ModelError, match="mask_TS=attention_mask"):
            call(x)
    sliding(x[:, :3])  # within the window causal attention is the same


def _unrotated(attention: Attention, x: torch.Tensor) -> torch.Tensor:
    return attend(*attention.project(x)).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(("reach", "positions"), list(itertools.product(REACHES, POSITIONS)))
def test_no_logit_depends_on_a_later_token(reach: str, positions: str):
    torch.manual_seed(2)
    config = ModelConfig(
        vocab_size=17, context_length=12, n_layer=2, n_embd=16, positions=positions, **REACHES[reach]
    )
    model = GPT(config).eval()
    ids = torch.randint(17, (1, 12))
    before = model(ids)
    for changed in range(12):
        altered = ids.clone()
        altered[0, changed] = (ids[0, changed] + 1) % 17
        after = model(altered)
        torch.testing.assert_close(after[:, :changed], before[:, :changed], atol=1e-6, rtol=0)
        assert not torch.allclose(after[:, changed], before[:, changed], atol=1e-4)


def test_one_sliding_layer_sees_its_window_and_no_further():
    torch.manual_seed(3)
    config = ModelConfig(
        vocab_size=17, context_length=12, n_layer=1, n_embd=16, attention="sliding", window=3
    )
    model = GPT(config)
    embedded = []
    model.token_embedding.register_forward_hook(lambda *call: embedded.append(call[-1]))
    logits = model(torch.randint(17, (1, 12)))
    reached = torch.autograd.grad(logits[0, 9].sum(), embedded[0])[0][0].abs().sum(-1) > 0
    assert reached.nonzero().flatten().tolist() == [7, 8, 9]


def test_dropout_is_active_in_training_only():
    torch.manual_seed(4)
    model = GPT(ModelConfig(vocab_size=17, context_length=8, n_embd=16, dropout=0.5))
    ids = torch.randint(17, (1, 8))
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))
    without = GPT(ModelConfig(vocab_size=17, context_length=8, n_embd=16))
    without.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(ids), without(ids))
