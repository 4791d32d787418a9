"""The form of the weights that `auto` chooses: the most exact one that nothing writes clearly faster than."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from glassgpt.generation import fastest, pace
from glassgpt.generation.fastest import fastest_form
from glassgpt.generation.pace import Pace, known_pace, measure_pace
from glassgpt.model.forms import FORMS, form_of, store


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GLASSGPT_CACHE", str(tmp_path))
    monkeypatch.delenv("GLASSGPT_MEASURE", raising=False)
    monkeypatch.setattr(pace, "used_by_others", lambda: 0.0)
    pace._recalled.cache_clear()


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ((100, 105, 110), "as-saved"),
        ((100, 125, 140), "bfloat16"),  # 8 bits are not 1.2 times as fast as 16
        ((100, 125, 160), "int8"),
        ((100, 90, 130), "int8"),
        ((100, 190, 90), "bfloat16"),
    ],
)
def test_a_form_that_rounds_more_must_be_clearly_faster(
    make: Any, monkeypatch: pytest.MonkeyPatch, speeds: Any, chosen: str
) -> None:
    measured = dict(zip(FORMS, speeds, strict=True))
    monkeypatch.setattr(
        fastest, "measure_pace", lambda model, seconds: Pace("loops", 1, 1, measured[form_of(model)], 1.0)
    )
    model = make().float()
    assert fastest_form(model) == chosen
    assert form_of(model) == "as-saved"


def test_what_is_known_is_not_measured_again(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in FORMS:
        stored = store(make().float(), form)
        assert known_pace(stored) is None, "the measurement of another form"
        found = measure_pace(stored, seconds=0.0)
        pace._recalled.cache_clear()
        assert known_pace(stored) == found
    monkeypatch.setattr(fastest, "measure_pace", lambda *_, **__: pytest.fail("measured"))
    assert fastest_form(make().float()) in FORMS


def test_nothing_is_measured_where_measuring_is_off(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "measure_pace", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setenv("GLASSGPT_MEASURE", "off")
    assert fastest_form(make().float()) == "as-saved"


def test_a_real_measurement_chooses_a_form(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "SECONDS", 0.0)
    model = make().float()
    form = fastest_form(model)
    paces = {form: known_pace(store(make().float(), form)) for form in FORMS}
    assert all(found is not None and found.one > 0 for found in paces.values())
    assert form in FORMS
    assert dataclasses.asdict(known_pace(model) or pytest.fail("not kept"))["engine"] in ("loops", "torch")
