"""Converts Hugging Face's `config.json` to `ModelConfig` and back, for the supported families.

A setting that our model does not support is an error that names it; it is never silently ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from glassgpt.architectures.families import FAMILIES, Family, family_of
from glassgpt.architectures.stated import Gpt2Settings, LlamaSettings, RopeSettings, stated
from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.parts import ACTIVATIONS

ORIGIN = "config.json"
FULL, SLIDING = "full_attention", "sliding_attention"
"""What Hugging Face calls a layer's attention."""
_CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
# Settings that change what is computed, with the only value that our model supports.
_MUST_BE: dict[str, dict[str, Any]] = {
    "gpt2": {
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    "llama": {"hidden_act": "silu", "partial_rotary_factor": 1.0},
}


def family_in(content: Mapping[str, Any]) -> Family:
    """Return the family that a `config.json` names. Raises `ModelError` for an unsupported one."""
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ModelError(
            f"GlassGPT does not have the architecture {kind!r}. It has {', '.join(FAMILIES)} "
            "(`model_type` in config.json): take a model of one of these."
        )
    return cast("Family", kind)


def from_hugging_face(content: Mapping[str, Any]) -> ModelConfig:
    """Return the config of the model that a `config.json` describes.

    Raises `ModelError` naming the setting that our model does not support, `ConfigError` for numbers that do not fit.
    """
    family = family_in(content)
    if content.get("quantization_config"):
        raise ModelError(
            "These weights are quantized. Take the original ones, in float32, float16 or bfloat16."
        )
    for name, value in _MUST_BE["gpt2" if family == "gpt2" else "llama"].items():
        if content.get(name) not in (None, value):
            raise ModelError(f"{name} = {content[name]!r} in config.json is not supported, only {value!r}.")
    return _from_gpt2(content) if family == "gpt2" else _from_llama(content, family)


def to_hugging_face(config: ModelConfig, family: Family | None = None) -> dict[str, Any]:
    """Return the `config.json` of the family that computes the same as this model, without any token ids.

    `family` selects another family that can hold the model. Raises `ModelError` when no family fits.
    """
    family = family or family_of(config)
    content = {
        "architectures": [_CLASSES[family]],
        "model_type": family,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied_head,
        "initializer_range": 0.02,
        "use_cache": True,
    }
    return content | (_to_gpt2(config) if family == "gpt2" else _to_llama(config, family))


def _from_gpt2(content: Mapping[str, Any]) -> ModelConfig:
    told = stated(Gpt2Settings, content, origin=ORIGIN)
    if told.activation_function not in _ACTIVATIONS:
        raise ModelError(
            f"activation_function = {told.activation_function!r} in config.json is not supported, only "
            f"{', '.join(_ACTIVATIONS)}."
        )
    return ModelConfig(
        vocab_size=told.vocab_size,
        context_length=told.n_positions,
        n_layer=told.n_layer,
        n_head=told.n_head,
        n_embd=told.n_embd,
        n_hidden=None if told.n_inner == 4 * told.n_embd else told.n_inner,
        positions="learned",
        norm="layernorm",
        norm_epsilon=told.layer_norm_epsilon,
        activation=_ACTIVATIONS[told.activation_function],
        qk_norm=False,
        qkv_bias=True,
        attention_bias=True,
        mlp_bias=True,
        norm_bias=True,
        tied_head=told.tie_word_embeddings,
        dropout=told.resid_pdrop,
    )


def _to_gpt2(config: ModelConfig) -> dict[str, Any]:
    return {
        "n_positions": config.context_length,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "n_inner": config.mlp_width,
        "activation_function": ACTIVATIONS[config.activation].gpt2,
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
    }


def _from_llama(content: Mapping[str, Any], family: Family) -> ModelConfig:
    told = stated(LlamaSettings, content, origin=ORIGIN)
    window = _window(told, family)
    return ModelConfig(
        vocab_size=told.vocab_size,
        context_length=told.max_position_embeddings,
        n_layer=told.num_hidden_layers,
        n_head=told.num_attention_heads,
        n_kv_head=told.num_key_value_heads,
        n_head_dim=_head_dim(told, family),
        n_embd=told.hidden_size,
        n_hidden=told.intermediate_size,
        norm_epsilon=told.rms_norm_eps,
        activation="swiglu",
        attention="full" if window is None else "sliding",
        window=window,
        qk_norm=family == "qwen3",
        qkv_bias=told.attention_bias or family == "qwen2",
        attention_bias=told.attention_bias and family != "qwen2",
        mlp_bias=told.mlp_bias and family == "llama",
        tied_head=told.tie_word_embeddings,
        dropout=told.attention_dropout,
        **_rope(told),
    )


def _head_dim(told: LlamaSettings, family: Family) -> int | None:
    """Return the width of a head where it is not n_embd / n_head. Qwen3's is 128 unless stated otherwise."""
    width = told.head_dim or (128 if family == "qwen3" else None)
    return None if width == told.hidden_size / told.num_attention_heads else width


def _window(told: LlamaSettings, family: Family) -> int | None:
    """Return how many tokens attention can see, or None for all. Raises `ModelError` where layers differ."""
    kinds = set(told.layer_types)
    unknown = sorted(kinds - {FULL, SLIDING})
    if unknown:
        raise ModelError(f"layer_types in config.json names {unknown[0]!r}, which is not supported.")
    if (
        family == "llama"
        or told.sliding_window is None
        or told.sliding_window >= told.max_position_embeddings
    ):
        return None
    if family == "mistral":
        return told.sliding_window
    if not kinds and told.use_sliding_window:
        slides = told.num_hidden_layers > told.max_window_layers
        kinds = {SLIDING} if slides else {FULL}
        if slides and told.max_window_layers > 0:
            kinds = {FULL, SLIDING}
    if len(kinds) > 1:
        raise ModelError(
            "Some layers of this model have a sliding window and others do not, which is not supported."
        )
    return told.sliding_window if kinds == {SLIDING} else None


def _rope(told: LlamaSettings) -> dict[str, Any]:
    """Return our rotary settings."""
    both = told.rope_scaling | told.rope_parameters
    if any(isinstance(value, Mapping) for value in both.values()):
        raise ModelError(
            "The layers of this model have different kinds of rotary positions, which is not supported."
        )
    rope = stated(RopeSettings, both, origin=f"rope_parameters in {ORIGIN}")
    if rope.partial_rotary_factor != 1.0:
        raise ModelError(
            f"partial_rotary_factor = {rope.partial_rotary_factor} in config.json is not supported, only 1.0."
        )
    settings: dict[str, Any] = {"rope_theta": rope.rope_theta or told.rope_theta}
    if rope.kind == "default":
        return settings
    if rope.kind not in ("linear", "llama3"):
        raise ModelError(
            f"rope_type = {rope.kind!r} in config.json is not supported, only default, linear and llama3."
        )
    settings |= {"rope_scaling": rope.kind, "rope_factor": _stated_in_rope(rope, "factor")}
    if rope.kind == "llama3":
        settings |= {
            "rope_original_length": _stated_in_rope(rope, "original_max_position_embeddings"),
            "rope_low_frequency": _stated_in_rope(rope, "low_freq_factor"),
            "rope_high_frequency": _stated_in_rope(rope, "high_freq_factor"),
        }
    return settings


def _stated_in_rope(rope: RopeSettings, name: str) -> Any:
    value = getattr(rope, name)
    if value is None:
        raise ModelError(f"config.json has no {name!r} for rope_type = {rope.kind!r}: get the file again.")
    return value


def _to_llama(config: ModelConfig, family: Family) -> dict[str, Any]:
    rope = _rope_parameters(config)
    content: dict[str, Any] = {
        "hidden_size": config.n_embd,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": ACTIVATIONS[config.activation].llama,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_epsilon,
        "attention_dropout": config.dropout,
        # transformers 5 reads the second of these, earlier ones the first.
        "rope_theta": config.rope_theta,
        "rope_parameters": rope,
        **({"rope_scaling": rope} if config.rope_scaling != "none" else {}),
    }
    if family in ("llama", "qwen3"):
        content["attention_bias"] = config.qkv_bias or config.attention_bias
    if family == "llama":
        content["mlp_bias"] = config.mlp_bias
    if family == "mistral":
        content["sliding_window"] = config.window
    if family in ("qwen2", "qwen3"):
        content |= _sliding_layers(config)
    return content


def _sliding_layers(config: ModelConfig) -> dict[str, Any]:
    slides = config.attention == "sliding"
    return {
        "use_sliding_window": slides,
        "sliding_window": config.window,
        "max_window_layers": 0 if slides else config.n_layer,
        "layer_types": [SLIDING if slides else FULL] * config.n_layer,
    }


def _rope_parameters(config: ModelConfig) -> dict[str, Any]:
    kind = "default" if config.rope_scaling == "none" else config.rope_scaling
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": config.rope_theta}
    if kind != "default":
        rope["factor"] = config.rope_factor
    if kind == "llama3":
        rope |= {
            "original_max_position_embeddings": config.rope_original_length,
            "low_freq_factor": config.rope_low_frequency,
            "high_freq_factor": config.rope_high_frequency,
        }
    return rope
