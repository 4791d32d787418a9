"""Reading ahead changes when a batch is read, never which batch."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.dataset.ahead import Ahead
from glassgpt.dataset.batches import Batches
from glassgpt.dataset.shards import TokenSplit


def batches() -> Batches:
    row = np.random.default_rng(0).integers(0, 50, 500).astype("<u2")
    return Batches(TokenSplit("train", (row,), np.array([0, 500]), text_bytes=500, documents=1), 8, 4, seed=3)


@given(steps=st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_any_steps_in_any_order_are_those_of_the_batches(steps: list[int]) -> None:
    plain, ahead = batches(), Ahead(batches(), pin=False)
    for step in steps:
        for ours, theirs in zip(ahead.at(step), plain.at(step), strict=True):
            assert torch.equal(ours, theirs)
    assert ahead.steps_per_epoch == plain.steps_per_epoch


def test_the_next_batch_is_read_before_it_is_asked_for() -> None:
    class Watched(Batches):
        def at(self, step: int):
            asked.append(step)
            return super().at(step)

    asked: list[int] = []
    plain = batches()
    ahead = Ahead(Watched(plain.split, plain.context_length, plain.batch_size, seed=plain.seed), pin=False)
    ahead.at(5)
    ahead._reader.shutdown(wait=True)
    assert asked == [5, 6]
