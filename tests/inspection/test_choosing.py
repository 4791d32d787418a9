"""Each step of sampling against distributions computed by hand; the last against the sampler itself, bit for bit."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import InspectionError
from glassgpt.generation.sampling import SamplingConfig, distribution
from glassgpt.inspection.choosing import Choice, steps_of

# Ordered they are 0.4 (id 3), 0.3 (0), 0.15 (2), 0.1 (4), 0.05 (1).
HAND = torch.tensor([0.3, 0.05, 0.15, 0.4, 0.1]).log()


def by_hand(
    found: Choice, step: str, likeliest: dict[int, float], removed: tuple[int, ...], share: float
) -> None:
    assert (found.step, found.left, found.removed) == (step, len(likeliest), removed)
    assert [id for id, _ in found.likeliest] == list(likeliest)
    assert dict(found.likeliest) == pytest.approx(likeliest, rel=1e-5)
    assert found.entropy == pytest.approx(
        -sum(p * math.log(p) for p in likeliest.values()), rel=1e-5, abs=1e-6
    )
    assert found.removed_share == pytest.approx(share, rel=1e-5, abs=1e-7)


def test_without_settings_there_is_only_the_softmax() -> None:
    (raw,) = steps_of(HAND, SamplingConfig())
    by_hand(raw, "raw", {3: 0.4, 0: 0.3, 2: 0.15, 4: 0.1, 1: 0.05}, (), 0)


def test_all_filters_by_hand() -> None:
    raw, heat, top_k, top_p, min_p = steps_of(
        HAND, SamplingConfig(temperature=0.5, top_k=4, top_p=0.9, min_p=0.6)
    )
    by_hand(raw, "raw", {3: 0.4, 0: 0.3, 2: 0.15, 4: 0.1, 1: 0.05}, (), 0)
    # Halving the temperature squares: 0.16, 0.09, 0.0225, 0.01, 0.0025, over their sum 0.285.
    squares = {3: 0.16, 0: 0.09, 2: 0.0225, 4: 0.01, 1: 0.0025}
    by_hand(heat, "temperature", {id: p / 0.285 for id, p in squares.items()}, (), 0)
    four = {id: p / 0.2825 for id, p in squares.items() if id != 1}
    by_hand(top_k, "top-k", four, (1,), 0.0025 / 0.285)
    # 0.566 and 0.885 do not reach 0.9, with the third it is 0.965.
    by_hand(top_p, "top-p", {id: squares[id] / 0.2725 for id in (3, 0, 2)}, (4,), 0.01 / 0.2825)
    # 0.6 of the likeliest is 0.352; the second has 0.330.
    by_hand(min_p, "min-p", {3: 1.0}, (0, 2), 0.1125 / 0.2725)


def test_the_repetition_penalty_by_hand() -> None:
    """Positive logits are halved, negative ones doubled, those of unseen ids stay."""
    logits = torch.tensor([1.0, -1.0, 2.0, 0.0])
    raw, penalized = steps_of(logits, SamplingConfig(repetition_penalty=2.0), seen=[2, 1, 2])
    total = sum(math.exp(x) for x in (1, -1, 2, 0))
    by_hand(raw, "raw", {id: math.exp(x) / total for id, x in ((2, 2), (0, 1), (3, 0), (1, -1))}, (), 0)
    total = sum(math.exp(x) for x in (1, -2, 1, 0))
    by_hand(
        penalized, "repetition penalty",
        {id: math.exp(x) / total for id, x in ((0, 1), (2, 1), (3, 0), (1, -2))}, (), 0,
    )  # fmt: skip
    with_nothing = steps_of(logits, SamplingConfig(repetition_penalty=2.0))
    assert with_nothing[1].likeliest == with_nothing[0].likeliest


def test_greedy_is_one_step_that_leaves_one_token() -> None:
    raw, greedy = steps_of(HAND, SamplingConfig(temperature=0))
    assert raw.left == 5
    by_hand(greedy, "greedy", {3: 1.0}, (0, 2, 4, 1), 0.6)
    names = [
        step.step for step in steps_of(HAND, SamplingConfig(temperature=0, repetition_penalty=1.5), seen=[3])
    ]
    assert names == ["raw", "repetition penalty", "greedy"]


def test_only_the_likeliest_are_listed_and_removals_are_among_those_listed_before() -> None:
    raw, top_k = steps_of(HAND, SamplingConfig(top_k=2), most=3)
    assert [id for id, _ in raw.likeliest] == [3, 0, 2]
    assert (raw.left, top_k.left) == (5, 2)
    assert top_k.removed == (2,)
    assert top_k.removed_share == pytest.approx(0.3)


def test_equally_likely_tokens_are_in_the_order_of_their_ids() -> None:
    (raw,) = steps_of(torch.zeros(1000), SamplingConfig(), most=7)
    assert [id for id, _ in raw.likeliest] == [0, 1, 2, 3, 4, 5, 6]
    assert raw.entropy == pytest.approx(math.log(1000))


def test_tokens_that_were_forbidden_are_never_left() -> None:
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0])
    (raw,) = steps_of(logits, SamplingConfig())
    assert raw.likeliest == ((1, 0.5), (3, 0.5))
    assert raw.left == 2


configs = st.builds(
    SamplingConfig,
    temperature=st.one_of(st.just(1.0), st.floats(0.01, 5), st.sampled_from([1e-30, 0.3, 2.0])),
    top_k=st.integers(0, 12),
    top_p=st.one_of(st.just(1.0), st.floats(0.01, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1)),
    repetition_penalty=st.one_of(st.just(1.0), st.floats(0.2, 5)),
) | st.builds(SamplingConfig, temperature=st.just(0.0), repetition_penalty=st.floats(0.2, 5))
numbers = st.lists(st.floats(-30, 30, width=32) | st.just(-math.inf), min_size=1, max_size=11)


@settings(deadline=None, max_examples=120)
@given(
    numbers,
    configs,
    st.lists(st.integers(0, 10), max_size=6),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_the_last_step_is_what_is_drawn_from_bit_for_bit(
    logits: list[float], config: SamplingConfig, seen: list[int], dtype: torch.dtype
) -> None:
    logits_V = torch.tensor([*logits, 0.5], dtype=dtype)
    ids = [id for id in seen if id < len(logits_V)]
    steps = steps_of(logits_V, config, seen=ids, most=99)
    drawn_V = distribution(logits_V[None], torch.tensor([ids], dtype=torch.int64), config)[0]
    assert dict(steps[-1].likeliest) == {id: p for id, p in enumerate(drawn_V.tolist()) if p > 0}
    asked: dict[str, Any] = {
        "raw": True, "repetition penalty": config.repetition_penalty != 1, "greedy": config.temperature == 0,
        "temperature": config.temperature not in (0, 1), "top-k": config.top_k, "top-p": config.top_p < 1,
        "min-p": config.min_p,
    }  # fmt: skip
    assert [step.step for step in steps] == [name for name, wanted in asked.items() if wanted]
    for before, after in itertools.pairwise(steps):
        left = dict(after.likeliest)
        assert set(after.removed) == dict(before.likeliest).keys() - left.keys()
        gone = sum(p for id, p in before.likeliest if id not in left)
        assert after.removed_share == pytest.approx(gone, abs=1e-6)
        assert after.left == len(left)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.zeros(2, 3), r"the shape \(2, 3\)"),
        (torch.zeros(0), r"the shape \(0,\)"),
        (torch.tensor([0.0, math.nan]), "no distribution"),
        (torch.tensor([0.0, math.inf]), "no distribution"),
        (torch.tensor([-math.inf, -math.inf]), "no distribution"),
    ],
)
def test_logits_that_are_no_distribution_are_refused(logits: torch.Tensor, message: str) -> None:
    with pytest.raises(InspectionError, match=message):
        steps_of(logits, SamplingConfig())


def test_ids_and_numbers_that_cannot_be_are_refused() -> None:
    for id in (-1, 5):
        with pytest.raises(InspectionError, match=f"id {id} in `seen` is outside"):
            steps_of(HAND, SamplingConfig(), seen=[0, id])
    with pytest.raises(InspectionError, match="most = 0"):
        steps_of(HAND, SamplingConfig(), most=0)
    before = HAND.clone()
    steps_of(HAND, SamplingConfig(temperature=0.5, top_k=2, repetition_penalty=2.0), seen=[1])
    assert torch.equal(HAND, before)
