"""The model gives the same logits with the cache as without it."""

from __future__ import annotations

import itertools

import pytest
import torch

from glassgpt.errors import ModelError
from glassgpt.model.cache import KVCache
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT

POSITIONS = ("learned", "sinusoidal", "rotary", "none")
REACHES = ({}, {"attention": "sliding", "window": 4}, {"attention": "strided", "window": 2, "stride": 3})
TINY = {"vocab_size": 19, "context_length": 14, "n_layer": 2, "n_head": 4, "n_embd": 16}


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(ModelConfig(**TINY)).eval()


@pytest.mark.parametrize(
    ("positions", "reach", "kv_heads", "qk_norm"),
    list(itertools.product(POSITIONS, REACHES, (1, 2, 4), (False, True))),
)
@torch.no_grad()
def test_prefill_then_token_by_token_equals_one_forward(positions, reach, kv_heads, qk_norm):
    torch.manual_seed(5)
    config = ModelConfig(**TINY, **reach, positions=positions, n_kv_head=kv_heads, qk_norm=qk_norm)
    model = GPT(config).eval()
    torch.nn.init.normal_(model.token_embedding.weight, std=0.5)  # so that the logits are not all the same
    ids = torch.randint(19, (2, 14))
    cache = model.new_cache(batch_size=2)
    parts = [model(ids[:, :5], cache), model(ids[:, 5:8], cache)]  # a second block of several tokens too
    parts += [model(ids[:, t : t + 1], cache) for t in range(8, 14)]
    assert cache.length == 14
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_the_cache_works_with_another_head_width_and_scaled_waves():
    torch.manual_seed(5)
    scaled = {"rope_scaling": "llama3", "rope_factor": 4.0, "rope_original_length": 8}
    model = GPT(ModelConfig(**{**TINY, "n_embd": 10}, n_kv_head=2, n_head_dim=6, **scaled)).eval()
    torch.nn.init.normal_(model.token_embedding.weight, std=0.5)
    ids = torch.randint(19, (2, 14))
    cache = model.new_cache(batch_size=2)
    parts = [model(ids[:, :9], cache), *(model(ids[:, t : t + 1], cache) for t in range(9, 14))]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_truncate_and_clear_forget(model: GPT):
    ids = torch.randint(19, (1, 10))
    cache = model.new_cache(batch_size=1)
    model(ids, cache)
    cache.truncate(6)
    torch.testing.assert_close(model(ids[:, 6:], cache), model(ids)[:, 6:])
    cache.clear()
    assert cache.length == 0
    torch.testing.assert_close(model(ids, cache), model(ids))
    with pytest.raises(ModelError, match="cannot be cut to 11"):
        cache.truncate(11)


def test_the_cache_takes_its_memory_once(model: GPT):
    cache = model.new_cache(batch_size=3, capacity=9)
    config = model.config
    assert cache.keys_LBKSD.shape == (config.n_layer, 3, config.kv_heads, 9, config.head_dim)
    address = cache.keys_LBKSD.data_ptr()
    k, v = torch.randn(2, 3, 4, 2, 4)
    keys, values = cache.update(1, k, v)
    assert torch.equal(keys, k)
    assert torch.equal(values, v)
    assert cache.length == 0  # other layers still have to write
    cache.advance(2)
    keys, _ = cache.update(1, v, k)
    assert torch.equal(keys, torch.cat((k, v), dim=2))
    assert cache.keys_LBKSD.data_ptr() == address
    assert keys.data_ptr() == cache.keys_LBKSD[1].data_ptr()  # a view, not a copy


def test_what_does_not_fit_is_refused(model: GPT):
    ids = torch.randint(19, (1, 8))
    with pytest.raises(ModelError, match="larger capacity"):
        model(ids, model.new_cache(batch_size=1, capacity=7))
    with pytest.raises(ModelError, match="has 1 rows and the cache 2"):
        model(ids, model.new_cache(batch_size=2))
    cache = model.new_cache(batch_size=1, capacity=40)
    model(ids, cache)
    with pytest.raises(ModelError, match="16 tokens are more than the model's context_length of 14"):
        model(ids, cache)
    with pytest.raises(ModelError, match="holds nothing"):
        KVCache(model.config, batch_size=0)


def test_dtype_and_device_follow_the_model(model: GPT):
    cache = model.double().new_cache(batch_size=1)
    assert cache.keys_LBKSD.dtype == torch.float64
    ids = torch.randint(19, (1, 8))
    torch.testing.assert_close(model(ids, cache), model(ids))


def test_the_cache_works_where_gradients_are_recorded(model: GPT):
    cache = model.new_cache(batch_size=1)
    ids = torch.randint(19, (1, 8))
    model(ids[:, :4], cache)
    model(ids[:, 4:], cache)
    assert not cache.keys_LBKSD.requires_grad
