"""Small models for the tests of generation, and the simplest generation there is to compare with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT

TINY = {"vocab_size": 31, "context_length": 12, "n_layer": 2, "n_head": 2, "n_embd": 16}


@pytest.fixture(scope="session")
def make() -> Callable[..., GPT]:
    """A function that makes a tiny model whose logits are far enough apart that rounding does not choose the token."""

    def made(seed: int = 0, **settings) -> GPT:
        torch.manual_seed(seed)
        model = GPT(ModelConfig(**{**TINY, **settings})).double().eval()
        for name, parameter in model.named_parameters():
            torch.nn.init.normal_(
                parameter, std=0.5 if parameter.dim() == 2 else 0.1, mean=float("norm" in name)
            )
        return model

    return made


@pytest.fixture(scope="session")
def plainly() -> Callable[[GPT, list[int], int], list[int]]:
    """Greedy generation in its simplest form: run the model over the visible window again for each token."""

    @torch.no_grad()
    def written(model: GPT, prompt: list[int], n: int) -> list[int]:
        ids, start, context = list(prompt), 0, model.config.context_length
        for _ in range(n):
            while len(ids) - start > context:
                start += context - context // 2
            ids.append(int(model(torch.tensor([ids[start:]]))[0, -1].argmax()))
        return ids[len(prompt) :]

    return written
