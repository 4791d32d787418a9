"""Every setting of training does for each kind of fine-tuning what it does in pretraining."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glassgpt.finetuning.run import start_finetuning
from glassgpt.model.gpt import Block
from tests.finetuning.test_kinds import KINDS


@pytest.fixture
def block_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts calls of blocks while gradients are made: the first time, and again for the backward pass."""
    calls: Counter[str] = Counter()
    forward = Block.forward

    def counted(self: Block, x_BTC: Tensor, *rest: object) -> Tensor:
        learns = x_BTC.requires_grad or any(weight.requires_grad for weight in self.parameters())
        if (
            self.training and torch.is_grad_enabled() and learns
        ):  # a frozen block has nothing to compute again
            calls["backward" if torch._C._current_graph_task_id() != -1 else "forward"] += 1
        return forward(self, x_BTC, *rest)

    monkeypatch.setattr(Block, "forward", counted)
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_computed_twice_where_that_is_asked_for(
    kind: str, here: Path, block_calls: Counter[str]
) -> None:
    """`--training.checkpoint-activations` was accepted by every kind and did nothing: only pretraining read it."""
    config, data = KINDS[kind]
    training = dataclasses.replace(config.training, steps=2, checkpoint_activations=True)
    start_finetuning("base", data, dataclasses.replace(config, training=training), name=kind)
    assert block_calls["backward"] == block_calls["forward"] > 0
