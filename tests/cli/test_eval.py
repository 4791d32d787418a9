"""`glassgpt eval` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from glassgpt.files import read_json
from tests.fixtures.tasks import write_task


def test_probes_that_fit_are_asked_and_the_others_named(glassgpt, workplace: Path):
    result = glassgpt("eval", "small", "--samples", "4", "--seed", "1", "--json", "found.json")
    assert result.status == 0
    found = read_json(Path("found.json"))
    assert found["run"] == "small"
    names = [score["name"] for score in found["scores"]]
    assert names[:2] == ["grammar", "induction"]
    assert all(name in result.output for name in names)
    # Its context of 16 tokens is too short for a story, and it was not trained on the built-in stories.
    left_out = [note.partition(":")[0] for note in found["left_out"]]
    assert {"recall", "tinytales"} <= set(left_out)
    assert sorted(names + left_out) == ["grammar", "induction", "memorisation", "recall", "tinytales"]
    grammar = found["scores"][0]
    assert grammar["chance"] == 0.5
    assert 0 <= grammar["value"] <= 1
    assert f"{grammar['value']:.3f}" in result.output


def test_the_same_seed_finds_the_same(glassgpt, workplace: Path):
    for name in ("a.json", "b.json"):
        assert glassgpt("eval", "small", "--tasks", "induction,grammar", "--json", name).status == 0
    assert Path("a.json").read_text() == Path("b.json").read_text()
    assert [score["name"] for score in read_json(Path("a.json"))["scores"]] == ["induction", "grammar"]


def test_a_named_probe_that_does_not_fit_is_an_error(glassgpt, workplace: Path):
    result = glassgpt("eval", "small", "--tasks", "tinytales")
    assert result.status == 1
    assert "trained on other text" in result.errors


def test_probes_and_tasks_of_a_folder_in_one_go(glassgpt, workplace: Path, monkeypatch):
    config = pytest.importorskip("lm_eval.tasks") and pytest.importorskip("datasets.config")
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", workplace / "kept")
    question = {"question": "The cat sat on the", "choices": ["mat", "log", "bird"], "answer": 0}
    write_task(workplace / "mine", "pets", [question] * 3)
    result = glassgpt("eval", "small", "--tasks", "pets,grammar", "--include", "mine", "--json", "found.json")
    assert result.status == 0
    scores = {score["name"]: score for score in read_json(Path("found.json"))["scores"]}
    assert list(scores) == ["grammar", "pets"]
    assert scores["pets"]["count"] == 3
    assert scores["pets"]["chance"] == pytest.approx(1 / 3)
    alone = glassgpt(
        "eval", "small", "--include", "mine", "--limit", "1", "--json", "all.json", "--samples", "2"
    )
    assert alone.status == 0
    assert "pets" in [score["name"] for score in read_json(Path("all.json"))["scores"]]


def test_numbers_that_make_no_sense_are_refused(glassgpt, workplace: Path):
    assert "--samples is 0" in glassgpt("eval", "small", "--samples", "0").errors
