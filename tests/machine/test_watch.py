"""Threads during work: kept on a quiet machine, changed when speed collapses, changed back afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.machine.watch import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    ROUNDS,
    SlownessWatch,
    ThreadWatch,
    alternatives,
)


class Machine:
    """A machine of a few cores, on which another program may keep one busy."""

    def __init__(self, cores: int = 2, unit: float = 0.1) -> None:
        self.cores, self.unit, self.busy = cores, unit, 0.0
        self.watch = ThreadWatch(alternatives(cores), busy=lambda: self.busy)
        self.used: list[int] = []

    def seconds(self, threads: int) -> float:
        if self.busy and threads > self.cores - self.busy:
            return self.unit * 9  # every thread waits for the one that was interrupted
        return self.unit * self.cores / threads * 0.9 ** (threads == 1)

    def work(self, units: int) -> float:
        total = 0.0
        for _ in range(units):
            threads = self.watch.threads
            self.used.append(threads)
            total += self.seconds(threads)
            self.watch.note(self.seconds(threads))
        return total


def test_alternatives_halve() -> None:
    assert alternatives(1) == (1,)
    assert alternatives(6) == (6, 3, 1)
    assert alternatives(8) == (8, 4, 2, 1)


def test_a_quiet_machine_keeps_its_threads_and_tries_nothing() -> None:
    """Another number of threads gives other last bits, and the same seed must give the same text there."""
    machine = Machine()
    machine.work(500)
    assert set(machine.used) == {2}
    assert machine.watch.changed is None


def test_a_core_that_becomes_busy_is_noticed_and_so_is_its_end() -> None:
    machine = Machine()
    machine.work(50)
    machine.busy = 1.0
    machine.work(50)
    assert machine.watch.current == 1
    assert "1 thread from here on instead of 2" in str(machine.watch.changed)
    machine.busy = 0.0
    machine.work(100)
    assert machine.watch.current == 2


def test_a_busy_core_from_the_beginning_is_noticed() -> None:
    """There is no faster time to compare with, so the load shows it."""
    machine = Machine()
    machine.busy = 1.0
    machine.work(60)
    assert machine.watch.current == 1


def test_beside_a_busy_core_most_of_the_best_speed_is_left() -> None:
    machine = Machine()
    machine.busy = 1.0
    best = 1000 * machine.seconds(1)
    assert best / machine.work(1000) > 0.8


def test_a_slowdown_that_threads_do_not_cause_is_tried_less_and_less() -> None:
    """A laptop that gets hot is slower with any number of threads; trying again and again would cost more."""
    machine = Machine()
    machine.work(50)
    for _ in range(40):
        machine.unit *= 1.6
        machine.work(LONGEST_PAUSE // 8)
    assert machine.watch.current == 2
    trials = machine.used.count(1) / ROUNDS
    assert trials <= 12


def test_work_that_grows_slowly_is_no_collapse() -> None:
    """A decode step takes longer with every token in the cache."""
    machine = Machine()
    for _ in range(400):
        machine.unit *= 1.005
        machine.work(1)
    assert set(machine.used) == {2}


def test_a_machine_that_does_best_with_half_its_threads_stays_there() -> None:
    watch = ThreadWatch((4, 2, 1), usual=2, busy=lambda: 0.0)
    for _ in range(100):
        assert watch.threads == 2
        watch.note(0.1)


def test_one_core_leaves_no_choice() -> None:
    watch = ThreadWatch((1,), busy=lambda: 5.0)
    for seconds in [0.1] * 30 + [5.0] * 30:
        assert watch.threads == 1
        watch.note(seconds)


@given(st.lists(st.floats(1e-6, 100), max_size=300), st.floats(0, 8))
def test_whatever_the_times_are_threads_are_among_the_alternatives(times: list[float], busy: float) -> None:
    watch = ThreadWatch((4, 2, 1), busy=lambda: busy)
    for seconds in times:
        assert watch.threads in (4, 2, 1)
        watch.note(seconds)
    assert watch.current in (4, 2, 1)


def test_the_first_trial_starts_without_a_pause() -> None:
    """A generation of a few dozen tokens beside a busy core must not end before it adapts."""
    watch = ThreadWatch((2, 1), busy=lambda: 1.0)
    seen = []
    for _ in range(FIRST_PAUSE):
        seen.append(watch.threads)
        watch.note(0.1)
    assert 1 in seen


@pytest.mark.parametrize("others", [0.0, 0.2])
def test_a_small_load_starts_no_trial(others: float) -> None:
    watch = ThreadWatch((2, 1), busy=lambda: others)
    for _ in range(100):
        assert watch.threads == 2
        watch.note(0.1)


@pytest.mark.parametrize(
    ("others", "slow", "says"), [(1.0, 0.25, True), (1.0, 0.12, False), (0.0, 0.25, False)]
)
def test_work_that_keeps_its_threads_says_once_that_others_slow_it_down(
    others: float, slow: float, says: bool
) -> None:
    """An unpaced run once took three times as long beside another program, without any message."""
    watch = SlownessWatch(busy=lambda: others)
    said = []
    for seconds in [0.1] * 30 + [slow] * 30 + [0.1] * 30 + [slow] * 30:
        assert watch.threads == 0
        watch.note(seconds)
        if watch.changed:
            said.append(watch.changed)
            watch.changed = None
    assert len(said) == says
    assert not says or said[0].startswith(
        "Updates take 2.5 times as long as before, and other programs keep about 1.0 cores busy."
    )
    assert watch.current == 0


def test_one_slow_unit_is_not_reported() -> None:
    watch = SlownessWatch(busy=lambda: 2.0)
    for seconds in ([0.1] * 20 + [5.0]) * 10:
        watch.note(seconds)
        assert watch.changed is None
