"""How a machine writes fastest: measured with the model's own steps, kept, and followed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from glassgpt.generation import engines, pace, scheduler
from glassgpt.generation.engines import has_numba
from glassgpt.generation.pace import MANY, Pace, known_pace, measure_pace
from glassgpt.generation.requests import Request
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.scheduler import Scheduler
from glassgpt.machine.kept import keep


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GLASSGPT_CACHE", str(tmp_path))
    monkeypatch.delenv("GLASSGPT_MEASURE", raising=False)
    monkeypatch.setattr(pace, "used_by_others", lambda: 0.0)
    pace._recalled.cache_clear()


def test_what_was_measured_is_kept_for_the_shape_and_the_form(make: Any) -> None:
    model, other, double = make().float(), make(n_embd=32).float(), make()
    assert known_pace(model) is None
    found = measure_pace(model, seconds=0.0)
    assert found.engine in ("loops", "torch")
    assert min(found.one, found.many) > 0
    assert min(found.threads_for_one, found.threads_for_many) >= 1
    assert known_pace(make(seed=3).float()) == found
    assert known_pace(other) is None
    assert known_pace(double) is None
    assert measure_pace(double, seconds=0.0).engine == "torch"  # the loops compute in float32


def test_nothing_is_kept_while_others_work(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "used_by_others", lambda: 1.0)
    measure_pace(make().float(), seconds=0.0)
    assert known_pace(make().float()) is None


def test_an_answer_that_makes_no_sense_is_no_answer(make: Any) -> None:
    model = make().float()
    keep(pace.question_about(model), "loops", speed=3.0)
    assert known_pace(model) is None


def test_rows_between_one_and_many_take_the_nearer_number_of_threads() -> None:
    found = Pace("loops", 1, 2, 10.0, 100.0)
    assert [found.threads(rows) for rows in (1, 2, 3, 4, MANY, 64)] == [1, 1, 1, 2, 2, 2]


@pytest.mark.skipif(not has_numba(), reason="needs numba")
def test_a_text_follows_what_was_measured(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads from the measurement, and no change to the loops where torch was faster."""
    model = make().float()
    measured = dataclasses.replace(measure_pace(model, seconds=0.0), engine="torch", threads_for_one=2)
    monkeypatch.setattr(scheduler, "known_pace", lambda _: measured)
    monkeypatch.setattr(engines, "LOAD_AFTER", 40)
    monkeypatch.setattr(engines, "_LOADING", engines._Loading())  # as in a new process
    kinds = []
    for engine in ("auto", "loops"):
        writer = Scheduler(model, engine=engine)
        writer.add(Request([1], SamplingConfig(temperature=0), max_tokens=60))
        while writer.busy:
            writer.step()
            kinds.append(type(writer._decoder).__name__)
    assert kinds == ["Decoder"] * 60 + ["LoopDecoder"] * 60
