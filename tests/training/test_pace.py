"""A run with a time limit: its schedule stretches without a jump, and decisions are part of the progress."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.errors import ConfigError
from glassgpt.training import trainer
from glassgpt.training.config import TrainingConfig
from glassgpt.training.events import StepsFinished
from glassgpt.training.losses import next_token_loss
from glassgpt.training.pace import Pacer, place, repace
from glassgpt.training.state import Progress


def walk(nominal: int, decisions: dict[int, int]) -> list[float]:
    """The schedule places of all updates of a run that changes its number of updates at some of them."""
    progress = Progress(steps=nominal)
    places = []
    while progress.step < progress.steps:
        if progress.step in decisions:
            repace(progress, decisions[progress.step], nominal)
            if progress.step >= progress.steps:
                break
        places.append(place(progress, nominal))
        progress.step += 1
    return places


def test_without_decisions_places_are_steps() -> None:
    assert walk(7, {}) == [0, 1, 2, 3, 4, 5, 6]


def test_a_run_cut_to_half_walks_the_rest_twice_as_fast() -> None:
    # Of 9 updates 4 are done; the 5 that are left become 3: from place 4 to 8 in two strides.
    assert walk(9, {4: 7}) == [0, 1, 2, 3, 4, 6, 8]


@given(
    nominal=st.integers(2, 60), decisions=st.dictionaries(st.integers(0, 40), st.integers(1, 80), max_size=5)
)
def test_places_only_rise_never_jump_and_end_at_the_end(nominal: int, decisions: dict[int, int]) -> None:
    decisions = {at: max(at + 2, steps) for at, steps in decisions.items()}
    places = walk(nominal, decisions)
    assert places[0] == 0
    assert places == sorted(places)
    assert places[-1] == pytest.approx(nominal - 1)


def test_the_updates_that_fit_are_counted_with_the_pauses() -> None:
    pacer = Pacer(TrainingConfig(seconds=100.0, evaluate_every=10))
    pacer.note_updates(4.0, 2)  # 2 s each
    pacer.note_pause(5.0)  # one in ten updates, so half a second each; and once more at the end
    progress = Progress(step=6, steps=50)
    assert pacer.steps(progress, elapsed=45.0) == 6 + 20  # (100 - 45 - 5) / 2.5
    assert pacer.steps(progress, elapsed=99.0) == 6  # nothing fits any more: it ends here


def test_a_slow_machine_makes_fewer_updates_and_the_rate_still_falls_to_its_end(
    bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that each update moves by 2 s, only 50 of 1,000 planned updates fit into 100 s."""
    now = [0.0]

    def slow(model, inputs, targets):
        now[0] += 2.0
        return next_token_loss(model, inputs, targets)

    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    settings = {"schedule": "linear", "warmup_steps": 0, "min_learning_rate": 1e-4, "log_every": 2}
    work = bench(steps=1000, seconds=100.0, job={"loss": slow}, **settings)
    finished = work.train()
    assert finished.reason == "finished"
    assert finished.step == 50
    told = work.of(StepsFinished)
    assert told[-1].steps == finished.step
    assert told[-1].learning_rate == pytest.approx(1e-4, rel=0.5)
    rates = [event.learning_rate for event in told]
    assert rates == sorted(rates, reverse=True)


def test_decisions_are_saved_with_the_progress(bench) -> None:
    work = bench(steps=1000, seconds=0.5, log_every=2, checkpoint_every=2)
    work.train()
    state, _ = work.saved[-1]
    assert state.progress.steps == state.progress.step
    assert state.progress.paced_at > 0


def test_seconds_must_be_some() -> None:
    with pytest.raises(ConfigError, match=r"training\.seconds must be greater than 0"):
        TrainingConfig(seconds=0.0)
