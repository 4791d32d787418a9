"""Losses against a softmax written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.int8 import quantize
from glassgpt.training.losses import next_token_loss, token_losses


class Table(nn.Module):
    """A model that looks up the logits of the next token."""

    def __init__(self, vocabulary: int, kind: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rows = nn.Parameter(3 * torch.randn(vocabulary, vocabulary).to(kind))

        self.head_weight, self.head_bias, self.head = torch.eye(vocabulary, dtype=kind), None, None

    def forward(self, ids: Tensor, then: Callable[..., Tensor]) -> Tensor:
        return then(self, self.rows[ids])

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


def by_hand(model: Table, inputs: Tensor, targets: Tensor) -> list[list[float]]:
    losses = []
    for row, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
        logits = [model.rows[id].tolist() for id in row]
        losses.append(
            [math.log(sum(map(math.exp, line))) - line[id] for line, id in zip(logits, wanted, strict=True)]
        )
    return losses


def test_the_loss_is_the_mean_surprise():
    model, inputs, targets = Table(7), torch.randint(7, (3, 5)), torch.randint(7, (3, 5))
    expected = torch.tensor(by_hand(model, inputs, targets))
    torch.testing.assert_close(token_losses(model, inputs, targets), expected)
    torch.testing.assert_close(next_token_loss(model, inputs, targets), expected.mean())


def test_equal_logits_cost_the_logarithm_of_the_vocabulary():
    model = Table(9)
    nn.init.constant_(model.rows, 4.0)
    loss = next_token_loss(model, torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64))
    assert math.isclose(loss.item(), math.log(9), rel_tol=1e-6)


def test_the_softmax_of_low_precision_logits_runs_in_float32():
    model = Table(50, torch.bfloat16)
    inputs, targets = torch.randint(50, (4, 9)), torch.randint(50, (4, 9))
    expected = torch.tensor(by_hand(model, inputs, targets))
    loss = next_token_loss(model, inputs, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected.mean())


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_in_8_bits_is_the_one_that_is_measured(tied: bool) -> None:
    """`evaluate --weights int8` once multiplied by the embedding, which is not the head where they are not tied."""
    torch.manual_seed(0)
    shape = {"context_length": 16, "n_layer": 1, "n_head": 2, "n_embd": 32, "embedding_std": 1.0}
    model = quantize(GPT(ModelConfig(vocab_size=61, tied_head=tied, **shape)).eval())
    ids = torch.randint(61, (3, 17))
    inputs, targets = ids[:, :-1], ids[:, 1:]
    with torch.inference_mode():
        expected = torch.nn.functional.cross_entropy(model(inputs).mT, targets, reduction="none")
        torch.testing.assert_close(token_losses(model, inputs, targets), expected)
