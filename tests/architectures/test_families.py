"""Which family a model belongs to, and what keeps it out of all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glassgpt.architectures.families import PARTS, family_of, lora_module
from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.presets import PRESETS

NANO = PRESETS["nano"]
GPT2 = PRESETS["gpt2-small"]


@pytest.mark.parametrize(
    ("config", "family"),
    [
        (NANO, "qwen3"),
        (replace(NANO, n_head_dim=16, n_kv_head=2), "qwen3"),
        (replace(NANO, attention="sliding", window=64), "qwen3"),
        (replace(NANO, qk_norm=False), "llama"),
        (replace(NANO, qk_norm=False, qkv_bias=True, attention_bias=True, mlp_bias=True), "llama"),
        (replace(NANO, qk_norm=False, qkv_bias=True), "qwen2"),
        (replace(NANO, qk_norm=False, attention="sliding", window=64), "mistral"),
        (GPT2, "gpt2"),
        (PRESETS["gpt2-small-untied"], "gpt2"),
        (PRESETS["shakespeare-char"], "gpt2"),
    ],
)
def test_the_nearest_family(config: ModelConfig, family: str) -> None:
    assert family_of(config) == family


@pytest.mark.parametrize(
    ("config", "option"),
    [
        (PRESETS["notebook"], "head_bias = true"),
        (replace(NANO, positions="sinusoidal"), "positions = 'sinusoidal'"),
        (replace(NANO, positions="none"), "positions = 'none'"),
        (replace(NANO, activation="relu2"), "activation = 'relu2'"),
        (replace(NANO, attention="strided", stride=8), "attention = 'strided'"),
        (replace(NANO, norm="layernorm"), "norm = 'layernorm'"),
        (replace(NANO, mlp_bias=True), "mlp_bias = true"),
        (replace(GPT2, qk_norm=True), "qk_norm = true"),
        (replace(GPT2, n_kv_head=4), "n_kv_head = 4"),
        (replace(GPT2, n_head_dim=32), "n_head_dim = 32"),
        (replace(GPT2, attention="sliding", window=8), "attention = 'sliding'"),
        (replace(GPT2, activation="swiglu"), "activation = 'swiglu'"),
        (replace(GPT2, norm="rmsnorm", norm_bias=False), "norm = 'rmsnorm'"),
    ],
)
def test_what_prevents_it_is_named(config: ModelConfig, option: str) -> None:
    with pytest.raises(ModelError, match=option):
        family_of(config)


def test_modules_for_adapters() -> None:
    assert lora_module(NANO, 0, "query") == "model.layers.0.self_attn.q_proj"
    assert lora_module(NANO, 3, "gate") == "model.layers.3.mlp.gate_proj"
    assert lora_module(GPT2, 11, "value") == "transformer.h.11.attn.c_attn"
    assert lora_module(GPT2, 0, "down") == "transformer.h.0.mlp.c_proj"
    assert len({lora_module(NANO, 1, part) for part in PARTS}) == len(PARTS)


def test_modules_that_are_not_there() -> None:
    with pytest.raises(ModelError, match="gate"):
        lora_module(GPT2, 0, "gate")
    with pytest.raises(ModelError, match="layer 4"):
        lora_module(NANO, 4, "query")
    with pytest.raises(ModelError, match="head_bias"):
        lora_module(PRESETS["notebook"], 0, "query")
