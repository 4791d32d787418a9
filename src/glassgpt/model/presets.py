"""Ready-made configs under a name.

`nano` is GlassGPT's default, small enough to train on a laptop while you watch. The GPT-2 sizes are those
of Radford et al. (2019), Table 2, as released. Tests check their parameter counts to the last digit.
"""

from __future__ import annotations

from dataclasses import replace

from glassgpt.errors import ConfigError, did_you_mean
from glassgpt.model.config import ModelConfig

GPT2_SMALL = ModelConfig(
    vocab_size=50257,
    context_length=1024,
    n_layer=12,
    n_head=12,
    n_embd=768,
    positions="learned",
    norm="layernorm",
    norm_epsilon=1e-5,
    activation="gelu_tanh",
    qk_norm=False,
    qkv_bias=True,
    attention_bias=True,
    mlp_bias=True,
    norm_bias=True,
    dropout=0.1,
)

PRESETS: dict[str, ModelConfig] = {
    # The default parts with a vocabulary that a small text can fill: 0.9M parameters.
    "nano": ModelConfig(vocab_size=1024),
    # A character model like nanoGPT's CPU example: 0.8M parameters.
    "shakespeare-char": ModelConfig(
        vocab_size=65,
        context_length=64,
        positions="learned",
        norm="layernorm",
        norm_epsilon=1e-5,
        activation="gelu",
        qk_norm=False,
    ),
    # GPT-2's vocabulary with a four-layer model, ReLU and an untied head: 13.7M, nearly all of it embeddings.
    "notebook": ModelConfig(
        vocab_size=50257,
        context_length=64,
        positions="learned",
        norm="layernorm",
        norm_epsilon=1e-5,
        activation="relu",
        qk_norm=False,
        attention_bias=True,
        mlp_bias=True,
        norm_bias=True,
        head_bias=True,
        tied_head=False,
    ),
    "gpt2-small": GPT2_SMALL,
    # The same with an untied head and without query, key and value biases, as tutorials often build it.
    "gpt2-small-untied": replace(GPT2_SMALL, tied_head=False, qkv_bias=False),
    "gpt2-medium": replace(GPT2_SMALL, n_layer=24, n_head=16, n_embd=1024),
    "gpt2-large": replace(GPT2_SMALL, n_layer=36, n_head=20, n_embd=1280),
    "gpt2-xl": replace(GPT2_SMALL, n_layer=48, n_head=25, n_embd=1600),
}


def get_preset(name: str) -> ModelConfig:
    """Return the config called `name`. Raises `ConfigError` with the nearest names when there is none."""
    if name not in PRESETS:
        hint = did_you_mean(name, PRESETS) or f" There are: {', '.join(PRESETS)}."
        raise ConfigError(f"There is no model preset {name!r}.{hint}")
    return PRESETS[name]
