"""The form of the weights that `auto` chooses: the most exact one that nothing writes clearly faster than."""

from __future__ import annotations

from typing import Any

import pytest

from glassgpt.generation import fastest
from glassgpt.generation.fastest import fastest_form
from glassgpt.generation.pace import question_about
from glassgpt.machine.compare import Comparison
from glassgpt.machine.kept import all_kept
from glassgpt.model.forms import FORMS, form_of, store


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GLASSGPT_CACHE", str(tmp_path))
    monkeypatch.delenv("GLASSGPT_MEASURE", raising=False)
    monkeypatch.setattr(fastest, "used_by_others", lambda: 0.0)


def speeds_are(monkeypatch: pytest.MonkeyPatch, *speeds: float) -> None:
    """Let the forms have these speeds, measured without noise."""
    of_form = dict(zip(FORMS, speeds, strict=True))

    def ratio(usual: float, other: float, *, lead: float, seconds: float) -> Comparison:
        return Comparison(other / usual, 0.0, 4, other > lead * usual, 1 / usual, 1 / other)

    monkeypatch.setattr(fastest, "steps_of", lambda model: of_form[form_of(model)])
    monkeypatch.setattr(fastest, "compare", ratio)


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
    speeds_are(monkeypatch, *speeds)
    model = make().float()
    assert fastest_form(model) == chosen
    assert form_of(model) == "as-saved"


def test_what_is_known_is_not_measured_again(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds_are(monkeypatch, 100, 200, 300)
    assert fastest_form(make().float()) == "int8"
    speeds_are(monkeypatch, 100, 100, 100)
    assert fastest_form(make(seed=3).float()) == "int8"
    assert fastest_form(make(n_embd=32).float()) == "as-saved"


def test_nothing_is_kept_while_others_work(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "used_by_others", lambda: 1.0)
    speeds_are(monkeypatch, 100, 200, 300)
    assert fastest_form(make().float()) == "int8"
    assert not all_kept()


def test_nothing_is_measured_where_measuring_is_off(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "compare", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setenv("GLASSGPT_MEASURE", "off")
    assert fastest_form(make().float()) == "as-saved"


def test_a_real_measurement_chooses_a_form(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "SECONDS", 0.0)
    assert fastest_form(make().float()) in FORMS
    (kept,) = all_kept().values()
    assert min(kept.figures.values()) > 0


def test_the_paces_of_the_forms_are_told_apart(make: Any) -> None:
    assert len({question_about(store(make().float(), form)) for form in FORMS}) == len(FORMS)
