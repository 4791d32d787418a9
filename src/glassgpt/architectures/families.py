"""Which well-known family of Hugging Face and llama.cpp a model belongs to.

    gpt2      learned positions, LayerNorm, an ungated MLP, biases, a fused projection
    llama     rotary positions, RMSNorm, SwiGLU, grouped heads
    mistral   as llama, with a sliding window
    qwen2     as llama, with biases of queries, keys and values
    qwen3     as llama, with QK-norm: the default parts, so a `nano` is a small Qwen3

A bias that a family has and the model lacks is written as zeros, which compute the same. The error names a setting
that has no place in any family.
"""

from __future__ import annotations

from typing import Literal, get_args

from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.parts import ACTIVATIONS, NORMS

Family = Literal["gpt2", "llama", "mistral", "qwen2", "qwen3"]
FAMILIES: tuple[Family, ...] = get_args(Family)

PARTS = ("query", "key", "value", "output", "gate", "up", "down")
"""The linear maps of a block that an adapter may change."""

_GPT2_MODULES = {
    "query": "attn.c_attn",
    "key": "attn.c_attn",
    "value": "attn.c_attn",
    "output": "attn.c_proj",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}
_LLAMA_MODULES = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def family_of(config: ModelConfig) -> Family:
    """Return the family that computes exactly the same as this model. Raises `ModelError` naming what prevents it."""
    if config.positions == "learned":
        _refuse("GPT-2", _against_gpt2(config))
        return "gpt2"
    if config.positions != "rotary":
        _refuse("any family", [_is("positions", config, "use rotary or learned ones")])
    _refuse("Llama and its kin", _against_llama(config))
    if config.qk_norm:
        return "qwen3"
    if config.qkv_bias and not (config.attention_bias or config.mlp_bias):
        return "qwen2"
    if config.attention == "sliding":
        return "mistral"
    return "llama"


def lora_module(config: ModelConfig, layer: int, part: str) -> str:
    """Return the path of a block's linear map in the family's Hugging Face model, such as
    "model.layers.0.self_attn.q_proj". GPT-2 has one module for queries, keys and values together.

    Raises `ModelError` when the model has no such part or belongs to no family.
    """
    modules, blocks = _LLAMA_MODULES, "model.layers"
    if family_of(config) == "gpt2":
        modules, blocks = _GPT2_MODULES, "transformer.h"
    if part not in modules:
        raise ModelError(
            f"There is no part {part!r} in this model's blocks. There are: {', '.join(modules)}."
        )
    if not 0 <= layer < config.n_layer:
        raise ModelError(f"There is no layer {layer}: the model has {config.n_layer}, counted from 0.")
    return f"{blocks}.{layer}.{modules[part]}"


def _against_gpt2(config: ModelConfig) -> list[str]:
    against = [] if "gpt2" in NORMS[config.norm].families else [_is("norm", config, "it has layernorm")]
    if ACTIVATIONS[config.activation].gpt2 is None:
        against.append(_is("activation", config, "it has gelu_tanh, gelu or relu"))
    if config.attention != "full":
        against.append(_is("attention", config, "it sees everything"))
    if config.qk_norm:
        against.append(_is("qk_norm", config, "it has none"))
    if config.kv_heads != config.n_head:
        against.append(_is("n_kv_head", config, "each head has its own keys"))
    if config.head_dim * config.n_head != config.n_embd:
        against.append(_is("n_head_dim", config, "it has n_embd / n_head"))
    return against + _against_all(config)


def _against_llama(config: ModelConfig) -> list[str]:
    against = [] if "llama" in NORMS[config.norm].families else [_is("norm", config, "they have rmsnorm")]
    if ACTIVATIONS[config.activation].llama is None:
        against.append(_is("activation", config, "they have swiglu"))
    if config.attention not in ("full", "sliding"):
        against.append(_is("attention", config, "they have full or sliding"))
    if config.rope_scaling not in ("none", "linear", "llama3"):
        against.append(_is("rope_scaling", config, "they have none, linear or llama3"))
    if config.mlp_bias and (config.qk_norm or config.attention == "sliding"):
        against.append(_is("mlp_bias", config, "only plain Llama has one"))
    if config.attention_bias and not config.qk_norm and config.attention == "sliding":
        against.append(_is("attention_bias", config, "Mistral has none"))
    return against + _against_all(config)


def _against_all(config: ModelConfig) -> list[str]:
    return [_is("head_bias", config, "no family has one")] if config.head_bias else []


def _is(option: str, config: ModelConfig, why: str) -> str:
    value = getattr(config, option)
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{option} = {shown} ({why})"


def _refuse(family: str, against: list[str]) -> None:
    if against:
        raise ModelError(
            f"This model does not fit into {family}: {'; '.join(against)}. Formats that only know "
            "such families cannot hold it; `glassgpt export --to onnx` can hold any model."
        )
