"""The law behind the plan: more of anything helps, and repetitions help less and less."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.planning.quality import ALPHA, BETA, A, B, excess_bits, fresh_bytes

AMOUNT = st.floats(1e4, 1e12)


def test_text_seen_once_counts_in_full() -> None:
    assert fresh_bytes(5e5, 1e6) == 5e5
    assert fresh_bytes(1e6, 1e6) == 1e6


def test_repetitions_by_hand() -> None:
    # Four passes are three repetitions: 1 + 15.4 (1 - e^(-3/15.4)) = 3.73 fresh texts.
    assert fresh_bytes(4e6, 1e6) == pytest.approx(1e6 * (1 + 15.4 * (1 - math.exp(-3 / 15.4))))
    assert fresh_bytes(1e12, 1e6) == pytest.approx(16.4e6)  # even endless repetitions are worth no more


@given(seen=AMOUNT, more=st.floats(1.0, 100.0), unique=AMOUNT)
def test_seeing_more_never_teaches_less_and_never_more_than_fresh_text(seen, more, unique) -> None:
    assert fresh_bytes(seen, unique) <= fresh_bytes(seen * more, unique) * (1 + 1e-12)
    assert fresh_bytes(seen, unique) <= seen * (1 + 1e-12)


@given(weights=st.integers(10**4, 10**10), seen=AMOUNT, unique=AMOUNT)
def test_larger_models_and_more_text_are_expected_to_be_better(weights, seen, unique) -> None:
    assert excess_bits(2 * weights, seen, unique) < excess_bits(weights, seen, unique)
    assert excess_bits(weights, seen, 2 * unique) <= excess_bits(weights, seen, unique)
    assert excess_bits(weights, seen, unique) == pytest.approx(
        A * weights**-ALPHA + B * fresh_bytes(seen, unique) ** -BETA
    )
