"""Tiny random models of transformers, one for each family and variant."""

from __future__ import annotations

from typing import Any

import torch

ROTARY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
}
GPT2 = {"vocab_size": 97, "n_positions": 64, "n_layer": 2, "n_head": 4, "n_embd": 32, "bos_token_id": None,
        "eos_token_id": None}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", GPT2),
    "gpt2-untied-relu": (
        "gpt2",
        {**GPT2, "tie_word_embeddings": False, "activation_function": "relu", "n_inner": 40},
    ),
    "llama": ("llama", ROTARY),
    "llama-tied-biases-head_dim": (
        "llama",
        {**ROTARY, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 12},
    ),
    "llama3-rope": ("llama", {**ROTARY, "rope_parameters": LLAMA3}),
    "linear-rope": (
        "llama",
        {**ROTARY, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
    ),
    "mistral": ("mistral", {**ROTARY, "sliding_window": 8}),
    "mistral-full": ("mistral", {**ROTARY, "sliding_window": None}),
    "qwen2": ("qwen2", ROTARY),
    "qwen3": (
        "qwen3",
        {**ROTARY, "head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    ),
    "qwen3-sliding": (
        "qwen3",
        {**ROTARY, "head_dim": 16, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
    ),
}


def make(kind: str, **changes: Any) -> Any:
    """Return a model of transformers with weights that would not hide a mistake."""
    import transformers

    family, settings = KINDS[kind]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **{**settings, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.2)
            parameter.add_(float("norm" in name and name.endswith("weight")))
    return model.eval()
