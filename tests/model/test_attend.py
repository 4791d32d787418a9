"""Attention over given queries, keys and values: each form against the formula in float64, and chosen at run time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glassgpt.errors import ConfigError
from glassgpt.generation.engine import generate_ids
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.model.attend import FORMS, attend, attention_weights, fused
from glassgpt.model.attention import using
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT


def by_hand(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """One query of one head at a time, its weights from plain Python numbers."""
    batch, heads, queries, width = q.shape
    keys, share = k.shape[2], heads // k.shape[1]
    out = torch.zeros_like(q)
    for b in range(batch):
        for h in range(heads):
            for t in range(queries):
                last = keys - queries + t
                seen = [s for s in range(keys) if (s <= last if mask is None else mask[t, s])]
                scores = {s: float(q[b, h, t] @ k[b, h // share, s]) / math.sqrt(width) for s in seen}
                total = sum(math.exp(score) for score in scores.values())
                out[b, h, t] = sum(
                    math.exp(score) / total * v[b, h // share, s] for s, score in scores.items()
                )
    return out


@pytest.mark.parametrize("form", FORMS)
@given(
    kv_heads=st.integers(1, 2), share=st.integers(1, 3), queries=st.integers(1, 4), held=st.integers(0, 3),
    masked=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(deadline=None, max_examples=30)
def test_every_form_is_the_formula(
    form: str, kv_heads: int, share: int, queries: int, held: int, masked: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys = queries + held
    q = torch.randn(2, kv_heads * share, queries, 4, dtype=torch.float64, generator=generator)
    k, v = (torch.randn(2, kv_heads, keys, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    mask = None
    if masked:
        mask = torch.rand(queries, keys, generator=generator) < 0.5
        mask[:, 0] = True  # a query that sees nothing has no weights
    expected = by_hand(q, k, v, mask)
    torch.testing.assert_close(attend(q, k, v, mask, form=FORMS[form]), expected)
    if mask is not None:  # also as numbers added to the scores
        added = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -math.inf)
        torch.testing.assert_close(attend(q, k, v, added, form=FORMS[form]), expected)


def test_explicit_attention_has_the_gradients_of_the_fused_one() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(2, heads, 5, 4, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)]
    gradients = [
        torch.autograd.grad(attend(*tensors, form=FORMS[form]).sin().sum(), tensors) for form in FORMS
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_weights_are_distributions_over_visible_keys() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(1, 2, 4, 8), torch.randn(1, 2, 4, 8)
    weights = attention_weights(q, k, causal=True)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 4))
    assert torch.equal(weights[..., 0, 1:], torch.zeros(1, 2, 3))


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(
        ModelConfig(vocab_size=23, context_length=16, n_layer=2, n_head=4, n_kv_head=2, n_embd=16)
    ).eval()


def test_a_form_from_elsewhere_computes_the_layers_it_is_given(model: GPT) -> None:
    seen: list[torch.Size] = []

    def counting(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, dropout: float
    ) -> Tensor:
        seen.append(q.shape)
        return fused(q, k, v, mask, causal=causal, dropout=dropout)

    ids = torch.arange(5).unsqueeze(0)
    plain = model(ids)
    with using(model, counting, layers=[1]):
        assert torch.equal(model(ids), plain)
    assert seen == [torch.Size([1, 4, 5, 4])]
    model(ids)
    assert len(seen) == 1, "the form stays after the block"
    with using(model, "explicit"):
        torch.testing.assert_close(model(ids), plain)


def test_the_form_is_put_back_after_an_error(model: GPT) -> None:
    with pytest.raises(ZeroDivisionError), using(model, "explicit"):
        raise ZeroDivisionError
    assert all(block.attention.form is fused for block in model.blocks)


def test_an_unknown_form_names_the_known_ones(model: GPT) -> None:
    with pytest.raises(ConfigError, match="explicit"), using(model, "explicite"):
        pass


def test_a_text_that_is_written_notices_another_form(model: GPT) -> None:
    """What is compiled computes the form it knows."""

    def nothing(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, dropout: float
    ) -> Tensor:
        return torch.zeros_like(q)

    written = generate_ids(model, [1, 2, 3], SamplingConfig(temperature=0), engine="steady")
    text = [1, 2, 3, *(next(written)[0] for _ in range(3))]
    with using(model, nothing):
        text += next(written)
        alone = generate_ids(model, text[:-1], SamplingConfig(temperature=0), use_cache=False)
        assert text[-1:] == next(alone)
