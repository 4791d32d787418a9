"""Every question is answered for every kind of model, with the numbers that the model computes."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glassgpt.errors import InspectionError
from glassgpt.explaining.shapes import Answer, Bars, Grid, Rows, Shown, Words, quoted
from glassgpt.explaining.tour import STOPS, Line, stops
from glassgpt.explaining.views import USUAL, VIEWS, Asked, answers, percent, questions
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.runs.opening import Run
from tests.inspection.conftest import KINDS, model_of

TEXT = "Once upon a time there was a fox. The fox"


@pytest.fixture(params=KINDS)
def of_a_kind(run: Run, request: pytest.FixtureRequest) -> Run:
    """A run whose model is of one kind, with the tokenizer of the trained one."""
    model = model_of(request.param, vocab_size=run.config.model.vocab_size, context_length=48)
    return dataclasses.replace(run, model=model)


def answer_of(run: Run, name: str, text: str = TEXT, **asked: object) -> Answer:
    (found,) = answers(Asked(run, text, **asked), [name])  # pyright: ignore[reportArgumentType]
    return found


def shares_of(shown: Shown) -> list[float]:
    if isinstance(shown, Grid):
        return [share for row in shown.shares for share in row]
    return [] if isinstance(shown, Rows) else list(shown.shares)


def test_every_question_has_an_answer_for_every_kind_of_model(of_a_kind: Run) -> None:
    names = [name for name in VIEWS if name not in ("steps", "patch")]
    for found in answers(Asked(of_a_kind, TEXT), names):
        assert found.shown or found.name == "positions", found.name
        for shown in found.shown:
            assert all(-1 <= share <= 1 for share in shares_of(shown)), found.name
            assert shown.caption.endswith(".") or shown.caption.endswith(")."), shown.caption
            if isinstance(shown, Words):
                assert (
                    len(shown.pieces)
                    == len(shown.notes)
                    == len(shown.shares)
                    == len(Asked(of_a_kind, TEXT).traced)
                )
            elif isinstance(shown, Grid):
                assert len(shown.rows) == len(shown.shares)
                assert {len(row) for row in shown.shares} == {len(shown.columns)}
            elif isinstance(shown, Rows):
                assert {len(row) for row in shown.cells} <= {len(shown.names)}
                assert set(shown.texts) <= set(shown.names)


def test_the_usual_questions_and_all(run: Run) -> None:
    assert questions(()) == USUAL
    assert questions(("all",)) == tuple(VIEWS)
    assert questions(("lens", "next")) == ("lens", "next")
    with pytest.raises(InspectionError, match=r"no question 'lense'.*lens"):
        questions(("lense",))


def test_probabilities_are_those_of_the_model(run: Run) -> None:
    ids = run.prompt_ids(TEXT)
    with torch.inference_mode():
        probabilities_TV = run.model(torch.tensor([ids]))[0].softmax(-1)
    best, best_id = probabilities_TV[-1].max(0)
    bars = answer_of(run, "next").shown[0]
    assert isinstance(bars, Bars)
    assert bars.names[0] == quoted(run.tokenizer.decode([int(best_id)]))
    assert bars.shares[0] == pytest.approx(float(best), abs=1e-6)
    words = answer_of(run, "surprise").shown[0]
    assert isinstance(words, Words)
    for place, note in enumerate(words.notes[1:]):
        assert note == percent(float(probabilities_TV[place, ids[place + 1]]))


def test_the_sampler_is_told_what_to_do(run: Run) -> None:
    table = answer_of(run, "choice", sampling=SamplingConfig(temperature=0.5, top_k=3)).shown[0]
    assert isinstance(table, Rows)
    assert [row[0] for row in table.cells] == ["raw", "temperature", "top-k"]
    assert table.cells[-1][1] == "3"


def test_parts_are_about_the_named_token(run: Run) -> None:
    id = run.tokenizer.encode(" was")[0]
    found = answer_of(run, "parts", token=" was")
    logit = Asked(run, TEXT).traced.arrays["logits"][-1, id].item()
    assert found.said == (f"All parts add up to the logit, {logit:.2f}.",)
    bars = found.shown[0]
    assert isinstance(bars, Bars)
    assert f'"{run.tokenizer.decode([id])}"' in bars.caption
    assert math.fsum(map(float, bars.numbers)) == pytest.approx(logit, abs=0.01 * len(bars.numbers))


def test_the_last_depth_is_what_the_model_predicts(run: Run) -> None:
    table, grid = answer_of(run, "lens").shown
    assert isinstance(table, Rows)
    assert isinstance(grid, Grid)
    expected = answer_of(run, "next").shown[0]
    assert isinstance(expected, Bars)
    assert table.cells[-1][0] == "final" or table.cells[-1][0].startswith("after block")
    assert table.cells[-1][1].startswith(f"{expected.names[0]} {expected.numbers[0]}")
    assert grid.texts[-1][-1] == expected.names[0]
    assert table.cells[-1][3] == "0.00"


def test_attention_is_that_of_the_chosen_head(run: Run) -> None:
    grid = answer_of(run, "attention", layer=1, head=1).shown[0]
    assert isinstance(grid, Grid)
    torch.testing.assert_close(
        torch.tensor(grid.shares), Asked(run, TEXT).traced.weights(1)[1], atol=1e-6, rtol=0
    )
    assert "Head 1 of layer 1" in grid.caption


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("attention", {"layer": 7}, "no layer 7: this model has the layers 0 to 1"),
        ("attention", {"head": 5}, "no head 5"),
        ("parts", {"layer": 9}, "no layer 9"),
        ("parts", {"token": ""}, "--token is empty"),
        ("patch", {}, "--instead"),
        ("patch", {"instead": "short"}, "Both need the same number"),
        ("patch", {"instead": TEXT}, "nothing decides between them"),
        ("heads", {"text": "a" * 500}, "context holds 48"),
    ],
)
def test_what_cannot_be_answered_says_the_way_out(
    run: Run, name: str, asked: dict[str, object], message: str
) -> None:
    with pytest.raises(InspectionError, match=message):
        answer_of(run, name, **{"text": TEXT} | asked)  # pyright: ignore[reportArgumentType]


def test_one_question_of_several_may_have_no_answer(run: Run) -> None:
    found = {one.name: one for one in answers(Asked(run, "a"), questions(("all",)))}
    assert found["patch"].shown == ()
    assert "--instead" in found["patch"].said[0]
    assert found["next"].shown


def test_patching_shows_where_two_texts_part(run: Run) -> None:
    model = model_of("usual", vocab_size=run.config.model.vocab_size, context_length=48)
    run = dataclasses.replace(run, model=model)
    grid = answer_of(run, "patch", text="The fox. A", instead="The fox. I").shown[0]
    assert isinstance(grid, Grid)
    assert (
        grid.texts[-1][-1] == "100%"
    )  # the stream after the last block at the last place is the whole answer
    assert grid.texts[-1][0] == "0%"  # and at another place it is not read any more


def test_the_same_text_over_the_training(run: Run) -> None:
    found = answer_of(run, "steps")
    bars = found.shown[0]
    assert isinstance(bars, Bars)
    losses = Asked(run, TEXT).traced.losses
    assert float(bars.numbers[-1]) == pytest.approx(losses.mean().item(), abs=6e-4)
    assert len(bars.names) > 1


def test_the_tour_has_ten_stops_whose_lines_exist(of_a_kind: Run) -> None:
    found = stops(Asked(of_a_kind, TEXT))
    assert len(found) == len(STOPS) == 10
    for stop in found:
        assert re.match(r"glassgpt/\S+\.py, line \d+:  \S", stop.code), stop.code
        assert stop.why
        assert stop.said


def test_a_line_is_found_by_what_it_does() -> None:
    assert str(Line(percent, "0.001")).endswith('return f"{share:.1%}" if share >= 0.001 else "<0.1%"')


def test_the_model_is_as_before(run: Run) -> None:
    before = {name: weight.clone() for name, weight in run.model.state_dict().items()}
    answers(Asked(run, TEXT), questions(("all",)))
    stops(Asked(run, TEXT))
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100%"), (0.5, "50%"), (0.1, "10%"), (0.0123, "1.2%"), (0.0001, "<0.1%"), (0.0, "0%")],
)
def test_probabilities_are_read_well(share: float, text: str) -> None:
    assert percent(share) == text


def test_the_usual_questions_load_no_algebra(trained: Path) -> None:
    """torch imports sympy for some gradients, which took as long as all the answers."""
    code = (
        "import sys; from glassgpt.runs.opening import open_run; from glassgpt.explaining.views import *; "
        f"answers(Asked(open_run({str(trained)!r}), {TEXT!r}), USUAL); assert 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
