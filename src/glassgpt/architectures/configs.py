"""`config.json` of Hugging Face to `ModelConfig` and back, for the families known here.

What a file asks for and our model cannot do is an error that names it, never left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassgpt.architectures.families import FAMILIES, Family, family_of
from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig

_CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
_GPT2_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu"}
# Settings that change what is computed, with the value that our model has.
_MUST_BE: dict[str, dict[str, Any]] = {
    "gpt2": {
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    "llama": {"hidden_act": "silu", "partial_rotary_factor": 1.0},
}


def family_in(content: Mapping[str, Any]) -> Family:
    """Return the family that a `config.json` names. Raises `ModelError` for another one."""
    kind = content.get("model_type")
    if kind not in FAMILIES:
        raise ModelError(
            f"The architecture {kind!r} is not one that GlassGPT has. It has {', '.join(FAMILIES)} "
            "(`model_type` in config.json): take a model of one of these."
        )
    return kind


def from_hugging_face(content: Mapping[str, Any]) -> ModelConfig:
    """Return the config of the model that a `config.json` describes.

    Raises `ModelError` naming what of it our model cannot do, `ConfigError` for numbers that do not fit.
    """
    family = family_in(content)
    if content.get("quantization_config"):
        raise ModelError(
            "These weights are quantized. Take the original ones, in float32, float16 or bfloat16."
        )
    for name, value in _MUST_BE["gpt2" if family == "gpt2" else "llama"].items():
        if content.get(name, value) != value:
            raise ModelError(f"{name} = {content[name]!r} in config.json is not supported, only {value!r}.")
    try:
        return _from_gpt2(content) if family == "gpt2" else _from_llama(content, family)
    except KeyError as error:
        raise ModelError(f"config.json has no {error}, without which the model cannot be built.") from error


def to_hugging_face(config: ModelConfig, family: Family | None = None) -> dict[str, Any]:
    """Return the `config.json` of the family that computes what this model does, without any token ids.

    `family` is another one that can hold it. Raises `ModelError` when there is none.
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
    activation = content.get("activation_function", "gelu_new")
    if activation not in _ACTIVATIONS:
        raise ModelError(
            f"activation_function = {activation!r} in config.json is not supported, only {', '.join(_ACTIVATIONS)}."
        )
    hidden = content.get("n_inner")
    return ModelConfig(
        vocab_size=content["vocab_size"],
        context_length=content.get("n_positions", 1024),
        n_layer=content["n_layer"],
        n_head=content["n_head"],
        n_embd=content["n_embd"],
        n_hidden=None if hidden == 4 * content["n_embd"] else hidden,
        positions="learned",
        norm="layernorm",
        norm_epsilon=content.get("layer_norm_epsilon", 1e-5),
        activation=_ACTIVATIONS[activation],
        qk_norm=False,
        qkv_bias=True,
        attention_bias=True,
        mlp_bias=True,
        norm_bias=True,
        tied_head=content.get("tie_word_embeddings", True),
        dropout=content.get("resid_pdrop", 0.1),
    )


def _to_gpt2(config: ModelConfig) -> dict[str, Any]:
    return {
        "n_positions": config.context_length,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "n_inner": config.mlp_width,
        "activation_function": _GPT2_ACTIVATIONS[config.activation],
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
    }


def _from_llama(content: Mapping[str, Any], family: Family) -> ModelConfig:
    window = _window(content, family)
    bias = bool(content.get("attention_bias", False))
    return ModelConfig(
        vocab_size=content["vocab_size"],
        context_length=content["max_position_embeddings"],
        n_layer=content["num_hidden_layers"],
        n_head=content["num_attention_heads"],
        n_kv_head=content.get("num_key_value_heads"),
        n_head_dim=_head_dim(content, family),
        n_embd=content["hidden_size"],
        n_hidden=content["intermediate_size"],
        norm_epsilon=content.get("rms_norm_eps", 1e-6),
        activation="swiglu",
        attention="full" if window is None else "sliding",
        window=window,
        qk_norm=family == "qwen3",
        qkv_bias=bias or family == "qwen2",
        attention_bias=bias and family != "qwen2",
        mlp_bias=bool(content.get("mlp_bias", False)) and family == "llama",
        tied_head=content.get("tie_word_embeddings", False),
        dropout=content.get("attention_dropout", 0.0),
        **_rope(content),
    )


def _head_dim(content: Mapping[str, Any], family: Family) -> int | None:
    """Return the width of a head where it is not n_embd / n_head. Qwen3's is 128 unless said otherwise."""
    width = content.get("head_dim") or (128 if family == "qwen3" else None)
    usual = content["hidden_size"] / content["num_attention_heads"]
    return None if width == usual else width


def _window(content: Mapping[str, Any], family: Family) -> int | None:
    """Return how many tokens attention sees, or None for all. Raises `ModelError` where layers differ."""
    window = content.get("sliding_window")
    layers = content["num_hidden_layers"]
    if family == "llama" or window is None or window >= content["max_position_embeddings"]:
        return None
    if family == "mistral":
        return window
    first = content.get("max_window_layers", 28)  # the layer at which sliding begins
    kinds = set(content.get("layer_types") or [])
    if not kinds and content.get("use_sliding_window", False):
        kinds = {"sliding_attention" if layer >= first else "full_attention" for layer in range(layers)}
    if len(kinds) > 1:
        raise ModelError("Some layers of this model slide and others do not, which is not supported.")
    return window if kinds == {"sliding_attention"} else None


def _rope(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return our rotary settings. Newer files keep all in `rope_parameters`, older ones in two places."""
    stated = dict(content.get("rope_scaling") or {}) | dict(content.get("rope_parameters") or {})
    kind = stated.get("rope_type") or stated.get("type") or "default"
    settings: dict[str, Any] = {
        "rope_theta": float(stated.get("rope_theta") or content.get("rope_theta", 10000.0))
    }
    if kind == "default":
        return settings
    if kind not in ("linear", "llama3"):
        raise ModelError(
            f"rope_type = {kind!r} in config.json is not supported, only default, linear and llama3."
        )
    settings |= {"rope_scaling": kind, "rope_factor": float(stated["factor"])}
    if kind == "llama3":
        settings |= {
            "rope_original_length": stated["original_max_position_embeddings"],
            "rope_low_frequency": float(stated["low_freq_factor"]),
            "rope_high_frequency": float(stated["high_freq_factor"]),
        }
    return settings


def _to_llama(config: ModelConfig, family: Family) -> dict[str, Any]:
    rope = _rope_parameters(config)
    content: dict[str, Any] = {
        "hidden_size": config.n_embd,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
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
        "layer_types": ["sliding_attention" if slides else "full_attention"] * config.n_layer,
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
