"""New special tokens for a trained model: the vocabulary grows, and so do the model's embedding and head."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glassgpt.model.gpt import GPT
from glassgpt.tokenizers.fast import FastTokenizer
from tokenizers import AddedToken, Tokenizer


def missing(tokenizer: FastTokenizer, names: Sequence[str]) -> list[str]:
    """Return the special tokens that a vocabulary does not have as one token."""
    return [name for name in names if len(tokenizer.encode(name, allow_special=True)) != 1]


def with_special_tokens(tokenizer: FastTokenizer, names: Sequence[str]) -> FastTokenizer:
    """Return the vocabulary with these special tokens added after all others; other ids do not change."""
    grown = Tokenizer.from_str(tokenizer.json)
    grown.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return FastTokenizer.from_json(grown.to_str())


@torch.no_grad()
def grow(model: GPT, vocab_size: int) -> GPT:
    """Add rows for more ids to the model's embedding and head; return the same model with its config updated.

    A new row is the mean of the old ones, because nothing is known yet about its token. With a row of zeros its logit
    would be 0, which is the likeliest of all among negative logits (Hewitt, 2021).
    """
    more = vocab_size - model.config.vocab_size
    if more <= 0:
        return model
    model.config = dataclasses.replace(model.config, vocab_size=vocab_size)
    model.token_embedding.weight = _grown(model.token_embedding.weight, more)
    model.token_embedding.num_embeddings = vocab_size
    if isinstance(model.head, nn.Linear):
        model.head.weight = _grown(model.head.weight, more)
        model.head.out_features = vocab_size
        if model.head.bias is not None:
            model.head.bias = _grown(model.head.bias, more)
    return model


def _grown(rows: Tensor, more: int) -> nn.Parameter:
    new = rows.float().mean(0, keepdim=True).to(rows.dtype)
    return nn.Parameter(torch.cat((rows, new.expand(more, *rows.shape[1:]))))
