"""Batches are a pure function of (seed, step, rank), and every token is used."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from glassgpt.dataset.batches import (
    Batches,
    Order,
    check_length,
    document_windows,
    evaluation_windows,
    shuffled,
)
from glassgpt.dataset.shards import TokenSplit
from glassgpt.device import World
from glassgpt.errors import ConfigError, DatasetError

Make = Callable[..., TokenSplit]
ORDERS: tuple[Order, ...] = ("random", "windows")


@pytest.mark.parametrize("order", ORDERS)
def test_targets_are_the_inputs_moved_by_one(make_split: Make, order: Order):
    batches = Batches(make_split(40, 61), context_length=8, batch_size=6, order=order)
    for step in range(20):
        inputs, targets = batches.at(step)
        assert inputs.shape == targets.shape == (6, 8)
        assert inputs.dtype == targets.dtype == torch.int64
        # The ids of the split count upwards, so a row must be consecutive numbers from its start.
        assert inputs.tolist() == (batches.starts(step)[:, None] + np.arange(8)).tolist()
        assert torch.equal(targets, inputs + 1)


@pytest.mark.parametrize("order", ORDERS)
def test_a_batch_follows_from_seed_and_step_alone(make_split: Make, order: Order):
    def make(seed: int) -> Batches:
        return Batches(make_split(500), context_length=8, batch_size=4, seed=seed, order=order)

    forwards = [make(3).at(step)[0] for step in range(30)]
    batches = make(3)
    for step in reversed(range(30)):
        assert torch.equal(batches.at(step)[0], forwards[step])
    assert not all(torch.equal(make(4).at(step)[0], forwards[step]) for step in range(30))
    assert len({tuple(rows[:, 0].tolist()) for rows in forwards}) == 30


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_share_the_batch_of_one_process(make_split: Make, order: Order, size: int):
    def at(step: int, world: World) -> torch.Tensor:
        split = make_split(333)
        return Batches(split, context_length=8, batch_size=8, seed=1, order=order, world=world).at(step)[0]

    for step in range(12):
        shares = [at(step, World(rank, size)) for rank in range(size)]
        assert all(len(share) == 8 // size for share in shares)
        assert torch.equal(torch.cat(shares), at(step, World()))


def test_a_batch_that_cannot_be_shared_evenly_is_refused(make_split: Make):
    with pytest.raises(ConfigError, match=r"batch_size 6 cannot be shared evenly by 4.*multiple of 4"):
        Batches(make_split(100), context_length=8, batch_size=6, world=World(0, 4))


def test_random_rows_start_anywhere(make_split: Make):
    """Each place from the first to the last possible one, about equally often."""
    batches = Batches(make_split(13), context_length=8, batch_size=100)
    starts = Counter(int(start) for step in range(50) for start in batches.starts(step))
    assert sorted(starts) == [0, 1, 2, 3, 4]
    expected = 5000 / 5
    assert (
        sum((count - expected) ** 2 / expected for count in starts.values()) < 18.5
    )  # chi2, 4 df, p = 0.001


@settings(deadline=None)
@given(
    length=st.integers(2, 120),
    context=st.integers(1, 12),
    stride=st.none() | st.integers(1, 12),
    epoch=st.integers(0, 3),
    seed=st.integers(0, 5),
)
def test_an_epoch_of_windows_shows_every_token(
    make_split: Make, length: int, context: int, stride: int | None, epoch: int, seed: int
):
    """With stride = context each token is a target exactly once, except those that the last window shares with
    the one before it. The tokens left over at the end were once never used."""
    if length <= context or (stride or 0) > context:
        return
    batches = Batches(
        make_split(length), context_length=context, batch_size=1, seed=seed, order="windows", stride=stride
    )
    windows = batches.windows
    starts = [int(batches.starts(epoch * windows + step)[0]) for step in range(windows)]
    assert len(set(starts)) == windows == batches.steps_per_epoch
    times = Counter(start + 1 + offset for start in starts for offset in range(context))
    assert set(times) == set(range(1, length))  # the first token is nobody's target
    if (stride or context) == context:
        shared = windows * context - (length - 1)
        assert 0 <= shared < context
        assert sum(count - 1 for count in times.values()) == shared
        assert all(times[token] == 1 for token in range(1, length - context))


def test_windows_of_a_smaller_stride_overlap(make_split: Make):
    split = make_split(41)
    batches = Batches(split, context_length=8, batch_size=1, order="windows", stride=4)
    starts = sorted(int(batches.starts(step)[0]) for step in range(batches.windows))
    assert starts == list(range(0, 33, 4))


def test_every_epoch_has_another_order_and_batches_run_over_its_end(make_split: Make):
    batches = Batches(make_split(10 * 8 + 1), context_length=8, batch_size=4, order="windows")
    assert (batches.windows, batches.steps_per_epoch) == (10, 2.5)
    rows = np.concatenate([batches.starts(step) for step in range(5)])
    first, second = rows[:10].tolist(), rows[10:].tolist()
    assert sorted(first) == sorted(second) == list(range(0, 80, 8))
    assert first != second


def test_steps_of_an_epoch_in_random_order(make_split: Make):
    assert Batches(make_split(1000), context_length=10, batch_size=4).steps_per_epoch == 25


# The shuffle


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 700), key=st.text(max_size=4))
def test_a_shuffle_visits_every_place_once(size: int, key: str):
    assert sorted(shuffled(index, size, key=key) for index in range(size)) == list(range(size))


@pytest.mark.parametrize("size", [2**40, 3**30])
def test_a_shuffle_of_any_size_stays_inside_and_does_not_repeat(size: int):
    places = [shuffled(index, size, key="k") for index in range(2000)]
    assert len(set(places)) == 2000
    assert all(0 <= place < size for place in places)
    mean = sum(places) / len(places) / size  # uniform: 0.5 with a deviation of 0.0065
    assert abs(mean - 0.5) < 0.03


def test_a_shuffle_mixes():
    """Neighbours do not stay together, and each key has its own order."""
    orders = [[shuffled(index, 50, key=f"0/{epoch}") for index in range(50)] for epoch in range(40)]
    assert len({tuple(order) for order in orders}) == 40
    together = sum(abs(a - b) == 1 for order in orders for a, b in itertools.pairwise(order))
    assert together < 40 * 49 * 0.08  # by chance 2 in 50
    firsts = Counter(order[0] for order in orders)
    assert max(firsts.values()) < 8


# Evaluation


@given(length=st.integers(2, 500), context=st.integers(1, 40), most=st.integers(1, 600))
def test_evaluation_windows_lie_inside_and_apart(make_split: Make, length: int, context: int, most: int):
    if length <= context:
        return
    starts = evaluation_windows(make_split(length), context, max_tokens=most)
    assert starts.dtype == np.int64
    assert 1 <= len(starts) <= max(1, most // context)
    assert starts[0] == 0
    assert starts[-1] + context + 1 <= length
    assert all(np.diff(starts) >= context)
    if most >= length:
        assert len(starts) == (length - 1) // context  # all there are


def test_evaluation_windows_are_spread_over_the_split(make_split: Make):
    assert evaluation_windows(make_split(1001), 10, max_tokens=40).tolist() == [0, 250, 500, 750]


# Too little text


@pytest.mark.parametrize("length", [1, 2, 8])
def test_too_little_text_says_the_longest_context_that_fits(make_split: Make, length: int):
    split = make_split(length)
    with pytest.raises(DatasetError, match=f"train split has {length} tokens") as caught:
        Batches(split, context_length=8, batch_size=1)
    if length == 1:
        assert "context-length" not in str(caught.value)  # no context at all would fit
        return
    assert f"at most {length - 1} here" in str(caught.value)
    check_length(split, length - 1)
    with pytest.raises(DatasetError):
        check_length(split, length)


def test_the_longest_context_that_fits_can_be_read(make_split: Make):
    for order in ORDERS:
        batches = Batches(make_split(9), context_length=8, batch_size=3, order=order)
        assert batches.windows == 1
        assert batches.at(5)[1].tolist() == [list(range(1, 9))] * 3


def story_split(lengths: list[int], *, end: int = 9) -> TokenSplit:
    """Documents of the given lengths; each token is its document's number (0 to 8), and `end` follows each."""
    ids = np.concatenate([[number % 9] * length + [end] for number, length in enumerate(lengths)])
    return TokenSplit("train", (ids.astype("<u2"),), np.array([0, len(ids)]), len(ids), len(lengths))


def test_in_order_documents_each_row_begins_where_a_document_does() -> None:
    split = story_split([5, 3, 7, 4, 6, 30])
    batches = Batches(split, 10, 1, order="documents", end_of_text=9)
    # The first document has no <|endoftext|> before it, and nothing follows the last.
    assert batches.windows == 5
    starts = [int(batches.starts(step)[0]) for step in range(10)]
    assert sorted(starts[:5]) == sorted(starts[5:]) == [5, 9, 17, 22, 29]
    inputs, targets = batches.at(0)
    assert inputs[0, 0] == 9
    assert torch.equal(inputs[0, 1:], targets[0, :-1])


def test_order_documents_without_documents_is_refused() -> None:
    with pytest.raises(DatasetError, match="no document that begins a whole window"):
        Batches(story_split([50]), 10, 1, order="documents", end_of_text=9)


@given(st.lists(st.integers(1, 25), min_size=2, max_size=30), st.integers(3, 12))
def test_document_windows_hold_each_target_once_from_the_first_end(lengths: list[int], context: int) -> None:
    split = story_split(lengths)
    assume(len(split) > context)  # fewer tokens are refused, which another test checks
    starts, sizes = document_windows(split, context, end_of_text=9, max_tokens=10**9)
    covered = [
        place
        for start, size in zip(starts, sizes, strict=True)
        for place in range(start + 1, start + size + 1)
    ]
    assert covered == list(range(lengths[0] + 1, len(split)))
    assert max(sizes) <= context
    ends = set(split.places_of(9).tolist())
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        # A window that does not fill the context stops where a document does.
        assert size == context or start + size in ends


def test_document_windows_are_spread_when_not_all_are_wanted() -> None:
    split = story_split([9] * 100)
    starts, sizes = document_windows(split, 10, end_of_text=9, max_tokens=200)
    assert sizes.sum() <= 200
    assert len(starts) >= 15
    assert starts.max() > 800
