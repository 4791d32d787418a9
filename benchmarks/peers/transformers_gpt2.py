"""GPT-2 of `transformers`, and our model with the same weights."""

from __future__ import annotations

import os
from typing import Any

import torch

from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT

os.environ.setdefault("HF_HUB_OFFLINE", "1")

PARTS = {"attention_norm": "ln_1", "attention.qkv": "attn.c_attn", "attention.output": "attn.c_proj",
         "mlp_norm": "ln_2", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}  # fmt: skip


def make(config: ModelConfig, seed: int = 0) -> Any:
    """Return a `GPT2LMHeadModel` with random weights, large enough that it does not repeat one token."""
    import transformers

    torch.manual_seed(seed)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size, n_positions=config.context_length, n_layer=config.n_layer,
            n_head=config.n_head, n_embd=config.n_embd, bos_token_id=None, eos_token_id=None,
            resid_pdrop=config.dropout, embd_pdrop=config.dropout, attn_pdrop=config.dropout,
        )
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3 if parameter.dim() == 2 else 0.1)
            parameter.add_(float("ln_" in name and "weight" in name))
    return model.eval()


def as_ours(peer: Any, config: ModelConfig) -> GPT:
    """Return our model with the peer's weights."""
    theirs = peer.transformer.state_dict()
    weights = {
        "token_embedding.weight": theirs["wte.weight"],
        "position_embedding.weight": theirs["wpe.weight"],
        "final_norm.weight": theirs["ln_f.weight"],
        "final_norm.bias": theirs["ln_f.bias"],
    }
    for layer in range(config.n_layer):
        for ours, name in PARTS.items():
            matrix, bias = (theirs[f"h.{layer}.{name}.{kind}"] for kind in ("weight", "bias"))
            # GPT-2's linear layers store their matrices the other way round.
            weights[f"blocks.{layer}.{ours}.weight"] = matrix.T if matrix.dim() == 2 else matrix
            weights[f"blocks.{layer}.{ours}.bias"] = bias
    model = GPT(config)
    model.load_state_dict(weights)
    return model.eval()


def generate(peer: Any, prompt: list[int], n: int) -> list[int]:
    """Return the `n` greedy ids after a prompt, with the peer's cache."""
    ids = torch.tensor([prompt])
    written = peer.generate(
        ids, max_new_tokens=n, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(ids)
    )
    return written[0, len(prompt) :].tolist()
