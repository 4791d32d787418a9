"""Logits equal to those of `transformers` with the same random weights: an independent reading of the papers."""

from __future__ import annotations

import os

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")

from glassgpt.model.config import ModelConfig  # noqa: E402
from glassgpt.model.gpt import GPT  # noqa: E402

SIZES = {"vocab_size": 61, "context_length": 24, "n_layer": 3, "n_head": 4, "n_embd": 32}
LLAMA_PARTS = {"activation": "swiglu", "n_kv_head": 2, "n_hidden": 56, "tied_head": False}


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    """Make every weight random, norms and biases too, so that a forgotten or swapped one is detected."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def compare(model: GPT, reference: torch.nn.Module) -> None:
    ids = torch.randint(61, (2, 24), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = reference.double()(ids).logits
        logits = model.double().eval()(ids)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_gpt2(gpt2_as_ours):
    reference = randomized(
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=61, n_positions=24, n_layer=3, n_head=4, n_embd=32)
        )
    )
    model = gpt2_as_ours(reference)
    compare(model, reference)


def llama_weights(theirs: dict[str, torch.Tensor], *, qk_norm: bool, tied: bool) -> dict[str, torch.Tensor]:
    """Rename the weights of Llama and its descendants; queries, keys and values are stacked."""
    weights = {
        "token_embedding.weight": theirs["model.embed_tokens.weight"],
        "final_norm.weight": theirs["model.norm.weight"],
    }
    if not tied:
        weights["head.weight"] = theirs["lm_head.weight"]
    names = {"attention_norm": "input_layernorm", "attention.output": "self_attn.o_proj",
             "mlp_norm": "post_attention_layernorm", "mlp.gate": "mlp.gate_proj", "mlp.up": "mlp.up_proj",
             "mlp.down": "mlp.down_proj"}  # fmt: skip
    if qk_norm:
        names |= {"attention.query_norm": "self_attn.q_norm", "attention.key_norm": "self_attn.k_norm"}
    for layer in range(3):
        its = f"model.layers.{layer}"
        for ours, name in names.items():
            weights[f"blocks.{layer}.{ours}.weight"] = theirs[f"{its}.{name}.weight"]
        parts = [theirs[f"{its}.self_attn.{part}_proj.weight"] for part in "qkv"]
        weights[f"blocks.{layer}.attention.qkv.weight"] = torch.cat(parts)
    return weights


def shared_settings(**more) -> dict:
    return {
        "vocab_size": 61, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 24,
        "rms_norm_eps": 1e-6, "attn_implementation": "eager", **more,
    }  # fmt: skip


def test_llama():
    settings = shared_settings(tie_word_embeddings=False, rope_parameters=rope(500.0))
    reference = randomized(transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)))
    model = GPT(ModelConfig(**SIZES, **LLAMA_PARTS, qk_norm=False, rope_theta=500.0))
    model.load_state_dict(llama_weights(reference.state_dict(), qk_norm=False, tied=False))
    compare(model, reference)


def test_qwen3():
    settings = shared_settings(tie_word_embeddings=True, head_dim=8, rope_parameters=rope(10000.0))
    reference = randomized(transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**settings)))
    model = GPT(ModelConfig(**SIZES, **{**LLAMA_PARTS, "tied_head": True}))
    model.load_state_dict(llama_weights(reference.state_dict(), qk_norm=True, tied=True))
    compare(model, reference)


def test_mistral_with_a_sliding_window():
    settings = shared_settings(
        tie_word_embeddings=False, head_dim=8, sliding_window=5, rope_parameters=rope(10000.0)
    )
    reference = randomized(transformers.MistralForCausalLM(transformers.MistralConfig(**settings)))
    model = GPT(ModelConfig(**SIZES, **LLAMA_PARTS, qk_norm=False, attention="sliding", window=5))
    model.load_state_dict(llama_weights(reference.state_dict(), qk_norm=False, tied=False))
    compare(model, reference)


def rope(theta: float) -> dict:
    return {"rope_type": "default", "rope_theta": theta}
