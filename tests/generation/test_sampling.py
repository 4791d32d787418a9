"""Each filter against numbers computed by hand, and against the processors of `transformers`."""

from __future__ import annotations

import math
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glassgpt.errors import GenerationError
from glassgpt.generation.sampling import (
    SamplingConfig,
    distribution,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
)
from glassgpt.generation.text import GenerationConfig

os.environ.setdefault("HF_HUB_OFFLINE", "1")

INFINITE = float("inf")
NOTHING_SEEN = torch.zeros(1, 1, dtype=torch.int64)
# Ids 0..4 in no order of likeliness; ordered they are 0.4 (3), 0.3 (0), 0.15 (2), 0.1 (4), 0.05 (1).
HAND = torch.tensor([[0.3, 0.05, 0.15, 0.4, 0.1]])


def probabilities(logits: Tensor, **settings: float) -> Tensor:
    return distribution(logits, NOTHING_SEEN, SamplingConfig(**settings))


def close(actual: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(actual, torch.tensor([expected], dtype=torch.float32), atol=1e-6, rtol=1e-5)


def test_without_settings_it_is_the_softmax():
    close(probabilities(HAND.log()), HAND[0].tolist())


def test_temperature_by_hand():
    # Halving the temperature squares: 0.09, 0.0025, 0.0225, 0.16, 0.01 over their sum 0.285.
    close(
        probabilities(HAND.log(), temperature=0.5),
        [0.09 / 0.285, 0.0025 / 0.285, 0.0225 / 0.285, 0.16 / 0.285, 0.01 / 0.285],
    )
    # Doubling it takes square roots.
    roots = [math.sqrt(p) for p in HAND[0].tolist()]
    close(probabilities(HAND.log(), temperature=2.0), [root / sum(roots) for root in roots])


def test_greedy_is_a_distribution_with_one_1():
    close(probabilities(HAND.log(), temperature=0), [0, 0, 0, 1, 0])


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300, 5e-324])
def test_a_tiny_temperature_ends_at_greedy_and_not_at_nan(temperature):
    """Large logits divided by a tiny temperature once became infinite, and infinity minus infinity is NaN."""
    logits = torch.tensor([[50.0, -80.0, 90.0, 12.0]])
    close(probabilities(logits, temperature=temperature), [0, 0, 1, 0])


def test_top_k_by_hand():
    close(probabilities(HAND.log(), top_k=2), [0.3 / 0.7, 0, 0, 0.4 / 0.7, 0])
    close(probabilities(HAND.log(), top_k=1), [0, 0, 0, 1, 0])
    close(probabilities(HAND.log(), top_k=99), HAND[0].tolist())


def test_top_k_keeps_all_that_tie_at_the_edge():
    kept = keep_top_k(torch.tensor([[1.0, 3.0, 1.0, 1.0, 0.0]]), 2)
    assert kept.tolist() == [[1.0, 3.0, 1.0, 1.0, -INFINITE]]


def test_top_p_by_hand():
    # 0.4 alone does not reach 0.6, 0.4 + 0.3 does.
    close(probabilities(HAND.log(), top_p=0.6), [0.3 / 0.7, 0, 0, 0.4 / 0.7, 0])
    # 0.4 + 0.3 + 0.15 = 0.85 reaches 0.8.
    close(probabilities(HAND.log(), top_p=0.8), [0.3 / 0.85, 0, 0.15 / 0.85, 0.4 / 0.85, 0])
    close(probabilities(HAND.log(), top_p=0.39), [0, 0, 0, 1, 0])
    close(probabilities(HAND.log(), top_p=1e-9), [0, 0, 0, 1, 0])


def test_top_p_of_equals_keeps_no_more_than_needed():
    # Eight tokens of exactly 1/8: four of them reach a half, the first in order of their ids.
    kept = keep_top_p(torch.zeros(1, 8), 0.5)
    assert kept.isfinite()[0].tolist() == [True] * 4 + [False] * 4


def test_min_p_by_hand():
    # The edge is 0.25 x 0.4 = 0.1, which token 4 would only touch; 0.26 x 0.4 = 0.104 is above it.
    close(probabilities(HAND.log(), min_p=0.26), [0.3 / 0.85, 0, 0.15 / 0.85, 0.4 / 0.85, 0])
    close(probabilities(HAND.log(), min_p=0.7), [0.3 / 0.7, 0, 0, 0.4 / 0.7, 0])
    close(probabilities(HAND.log(), min_p=1.0), [0, 0, 0, 1, 0])


def test_min_p_of_1_keeps_every_likeliest():
    assert keep_min_p(torch.tensor([[2.0, 1.0, 2.0]]), 1.0).isfinite()[0].tolist() == [True, False, True]


def test_repetition_penalty_by_hand():
    logits = torch.tensor([[2.0, -1.0, 3.0, 0.0]])
    seen = torch.tensor([[1, 2, 2, 1, 3]])  # twice or once is the same
    assert penalize_repetition(logits, seen, 2.0).tolist() == [[2.0, -2.0, 1.5, 0.0]]
    assert penalize_repetition(logits, seen, 0.5).tolist() == [[2.0, -0.5, 6.0, 0.0]]
    assert logits.tolist() == [[2.0, -1.0, 3.0, 0.0]]  # the input is untouched


@pytest.mark.parametrize("penalty", [5e-324, 1e-320, 1e-30, 1e30, 1e308])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_extreme_penalty_does_not_look_like_a_broken_model(penalty: float, temperature: float):
    """Logits became infinite, or NaN where they were 0, and a server said that its model was broken."""
    logits = torch.tensor([[3.0, -2.0, 0.0, -math.inf, 1.0]])
    config = SamplingConfig(temperature=temperature, repetition_penalty=penalty)
    found = distribution(logits, torch.tensor([[0, 1, 2, 3]]), config)
    assert found.isfinite().all()
    assert found[0, 3] == 0
    assert found.argmax() == (0 if penalty < 1 else 4)
    broken = torch.tensor([[math.inf, 1.0]])
    assert not penalize_repetition(broken, torch.tensor([[0]]), penalty).isfinite().all()


def test_repetition_penalty_counts_for_greedy_too():
    logits = torch.tensor([[2.0, -1.0, 3.0]])
    greedy = distribution(logits, torch.tensor([[2]]), SamplingConfig(temperature=0, repetition_penalty=2))
    assert greedy.tolist() == [[1.0, 0.0, 0.0]]


def test_the_order_of_the_filters():
    """Temperature comes before top-p and min-p: at 0.5 the probabilities are those of the squares.

    0.16 + 0.09 = 0.25 of 0.285 is 0.877, so p = 0.85 is reached by two; without the temperature it took three.
    """
    close(probabilities(HAND.log(), temperature=0.5, top_p=0.85), [0.09 / 0.25, 0, 0, 0.16 / 0.25, 0])
    # And top-k before top-p: of two tokens renewed to 0.3/0.7 and 0.4/0.7 = 0.571 the first reaches 0.55.
    close(probabilities(HAND.log(), top_k=2, top_p=0.55), [0, 0, 0, 1, 0])


def test_rows_do_not_mix():
    logits = torch.stack((HAND[0], HAND[0].flip(0))).log()
    both = distribution(
        logits, torch.zeros(2, 1, dtype=torch.int64), SamplingConfig(top_k=3, top_p=0.8, min_p=0.1)
    )
    close(both[:1], [0.3 / 0.7, 0, 0, 0.4 / 0.7, 0])  # of three (0.85) two (0.7) reach 0.8
    torch.testing.assert_close(both[1], both[0].flip(0))


def test_half_precision_logits_are_chosen_from_in_float32():
    result = probabilities(torch.randn(1, 1000).to(torch.bfloat16))
    assert result.dtype == torch.float32
    assert abs(result.sum().item() - 1) < 1e-5


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([1e-3, 1.0, 30.0]),
    p=st.floats(1e-6, 1, exclude_max=True),
    k=st.integers(1, 40),
    min_p=st.floats(0, 1),
)
def test_something_is_always_kept_and_top_p_is_the_smallest_set(seed, spread, p, k, min_p):
    logits = torch.randn(3, 30, generator=torch.Generator().manual_seed(seed)) * spread
    everything = distribution(
        logits, torch.zeros(3, 1, dtype=torch.int64), SamplingConfig(top_k=k, top_p=p, min_p=min_p)
    )
    assert (everything > 0).any(-1).all()
    torch.testing.assert_close(everything.sum(-1), torch.ones(3), atol=1e-5, rtol=0)
    assert (everything.argmax(-1) == logits.argmax(-1)).all()
    for row, kept in zip(logits.double().softmax(-1), keep_top_p(logits, p).isfinite(), strict=True):
        inside = row[kept]
        assert inside.sum() >= p - 1e-5
        assert inside.sum() - inside.min() < p + 1e-5  # one fewer would not do
        assert kept.all() or row[~kept].max() <= inside.min() + 1e-9


CASES = [
    {"temperature": 0.7},
    {"temperature": 1.8},
    {"top_k": 7},
    {"top_p": 0.8},
    {"top_p": 0.05},
    {"min_p": 0.1},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8},
    {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.2},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parity_with_transformers(case):
    transformers = pytest.importorskip("transformers")
    config = SamplingConfig(**case)
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(64, 60, generator=generator) * 3
    seen = torch.randint(60, (64, 12), generator=generator)
    processors = transformers.LogitsProcessorList()
    if config.repetition_penalty != 1:
        processors.append(transformers.RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.temperature != 1:
        processors.append(transformers.TemperatureLogitsWarper(config.temperature))
    if config.top_k:
        processors.append(transformers.TopKLogitsWarper(config.top_k))
    if config.top_p < 1:
        processors.append(transformers.TopPLogitsWarper(config.top_p))
    if config.min_p:
        processors.append(transformers.MinPLogitsWarper(config.min_p))
    expected = processors(seen, logits.clone()).softmax(-1)
    actual = distribution(logits, seen, config)
    assert torch.equal(actual == 0, expected == 0)
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)


def uniforms(rows: int, seed: int) -> torch.Tensor:
    return torch.rand(rows, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_draws_follow_the_distribution():
    """Chi-square with 4 degrees of freedom stays under 23.5 in all but one of ten thousand cases."""
    draws = 40_000
    ids = draw(HAND.expand(draws, 5), uniforms(draws, seed=5))
    assert ids.shape == (draws, 1)
    counts = ids.flatten().bincount(minlength=5).double()
    expected = HAND[0].double() * draws
    assert ((counts - expected) ** 2 / expected).sum() < 23.5


def test_draws_never_take_what_is_excluded():
    some = torch.tensor([[0.0, 0.5, 0.0, 0.5]]).expand(5000, 4)
    assert set(draw(some, uniforms(5000, seed=0)).flatten().tolist()) == {1, 3}


def test_the_numbers_decide_the_draw():
    rows = HAND.expand(200, 5)
    first, again, other = (draw(rows, uniforms(200, seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(
    weights=st.lists(st.integers(0, 3), min_size=1, max_size=9).filter(any),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_a_draw_is_where_the_sums_pass_the_number(weights, uniform):
    """Against exact fractions; a token of probability 0 is never drawn, whatever the number."""
    id = int(draw(torch.tensor([weights]).float(), torch.tensor([[uniform]], dtype=torch.float64)))
    below, upto = sum(weights[:id]), sum(weights[: id + 1])
    assert weights[id] > 0
    assert below <= uniform * sum(weights) * (1 + 1e-12)
    assert uniform * sum(weights) < upto * (1 + 1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -0.1}, "temperature must be 0"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"top_k": -1}, "top_k must be 0"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"top_p": 1.01}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": 1.1}, "min_p must be from 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be above 0"),
        ({"repetition_penalty": math.inf}, "repetition_penalty"),
    ],
)
@pytest.mark.parametrize("kind", [SamplingConfig, GenerationConfig])
def test_bad_settings_are_refused_naming_the_setting(kind, wrong, message):
    with pytest.raises(GenerationError, match=message):
        kind(**wrong)
