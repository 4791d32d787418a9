"""Comparing two ways: a clear lead is found, a small one does not count, and noise gives no verdict."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.machine.compare import compare, verdict


class Scripted:
    """Two ways whose times are scripted, and the clock that they move."""

    def __init__(self, usual: Iterator[float], other: Iterator[float]) -> None:
        self.now, self.calls = 0.0, ""
        self._times = {"u": usual, "o": other}

    def way(self, name: str) -> Callable[[], None]:
        def run() -> None:
            self.calls += name
            self.now += next(self._times[name])

        return run

    def compare(self, **settings):
        return compare(self.way("u"), self.way("o"), clock=lambda: self.now, **settings)


def noisy(mean: float, spread: float, seed: int) -> Iterator[float]:
    rng = random.Random(seed)
    while True:
        yield mean * math.exp(rng.gauss(0, spread))


def test_a_collapse_is_plain_after_two_pairs() -> None:
    """With two busy programs, an update took 7 s on two threads: four pairs would have taken half a minute."""
    machine = Scripted(noisy(7.0, 0.3, 1), noisy(0.9, 0.3, 2))
    found = machine.compare(lead=1.1, seconds=3.0)
    assert (found.wins, found.rounds) == (True, 2)
    machine = Scripted(noisy(0.9, 0.3, 1), noisy(6.0, 0.1, 2))
    assert machine.compare(lead=1.1, seconds=3.0).wins is False


def test_a_clear_lead_is_found_in_four_pairs() -> None:
    machine = Scripted(noisy(0.2, 0.01, 1), noisy(0.1, 0.01, 2))
    found = machine.compare()
    assert found.wins is True
    assert found.rounds == 4
    assert found.ratio == pytest.approx(2, rel=0.05)


def test_pairs_alternate_after_one_uncounted_run_each() -> None:
    """So a machine that slows down during the measurement does not favour the first way."""
    machine = Scripted(noisy(0.1, 0, 1), noisy(0.1, 0, 2))
    machine.compare(lead=1.001, most=4)
    assert machine.calls == "uo" + "uo" + "ou" + "uo" + "ou"


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.2])
def test_the_same_speed_hardly_ever_wins_however_noisy(spread: float) -> None:
    """The choice of precision was a coin toss: 1.17 in one process, 1.24 in the next, and the threshold was 1.2."""
    wins = sum(
        Scripted(noisy(0.1, spread, 2 * seed), noisy(0.1, spread, 2 * seed + 1))
        .compare(lead=1.2, seconds=1e9)
        .wins
        is True
        for seed in range(300)
    )
    assert wins <= 6


def test_a_drifting_machine_does_not_matter() -> None:
    """Every run takes 3% longer than the one before; within a pair that hardly shows."""

    def drifting(first: float) -> Iterator[float]:
        while True:
            yield first * 1.03 ** (machine.calls.count("u") + machine.calls.count("o"))

    machine = Scripted(drifting(0.13), drifting(0.1))
    assert machine.compare(lead=1.1, seconds=1e9).wins is True


def test_time_is_bounded_and_ends_without_a_verdict() -> None:
    machine = Scripted(noisy(1.0, 0.5, 3), noisy(1.0, 0.5, 4))
    found = machine.compare(lead=1.05, seconds=5.0)
    assert found.wins is None
    assert machine.now < 5.0 + 6.0


def test_a_hopeless_way_is_dropped_after_one_run() -> None:
    """A bfloat16 update without hardware for it takes minutes; it must not be repeated."""
    machine = Scripted(noisy(0.1, 0, 1), noisy(40.0, 0, 2))
    found = machine.compare()
    assert found.wins is False
    assert machine.calls == "uo"


def test_one_interrupted_run_does_not_count() -> None:
    pairs = [(0.2, 0.1), (0.2, 0.1), (0.2, 3.0), (0.2, 0.1), (0.2, 0.1), (0.2, 0.1)]
    assert verdict(pairs, lead=1.1).wins is True


POSITIVE = st.floats(1e-4, 1e4)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=20), st.floats(1.0, 2.0))
def test_verdicts_mirror_each_other(pairs: list[tuple[float, float]], lead: float) -> None:
    found = verdict(pairs, lead=lead)
    mirrored = verdict([(other, usual) for usual, other in pairs], lead=lead)
    assert not (found.wins and mirrored.wins)
    assert found.ratio * mirrored.ratio == pytest.approx(1, rel=1e-6)
    assert len(pairs) >= 2 or found.wins is None
