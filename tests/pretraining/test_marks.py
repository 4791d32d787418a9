"""The project's own goals, reached by the real recipes on real text. Each takes minutes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from glassgpt import config as configs
from glassgpt.evaluation.stories import score_run
from glassgpt.jobs.work import Outcome
from glassgpt.pretraining.recipes import read_recipe
from glassgpt.pretraining.run import start_run
from glassgpt.runs.config import RunConfig
from glassgpt.runs.opening import open_run


def train_recipe(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Outcome:
    """Run a recipe as `glassgpt train --recipe` does, with settings changed by section."""
    monkeypatch.setenv("GLASSGPT_RUNS", str(folder / "runs"))
    values = configs.merge(read_recipe(name), {"training": {"precision": "float32"}})
    values = configs.merge(values, changes)
    return start_run(configs.from_dict(RunConfig, values, origin=name), name=name)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_most_of_the_demos_stories_are_valid_and_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = train_recipe("tinytales", tmp_path, monkeypatch)
    assert outcome.floor is not None
    assert outcome.floor < outcome.finished.best_loss < outcome.floor + 0.08
    _, score = score_run(open_run(str(outcome.directory.path)), count=100)
    assert score.new > 50


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_shakespeare_letter_by_letter(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = {"sources": [str(shared_data / "tinyshakespeare.txt")]}
    outcome = train_recipe("shakespeare-char", tmp_path, monkeypatch, corpus=corpus)
    assert outcome.finished.best_loss <= 1.92


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_notebooks_model_learns(
    shared_data: Path, tiktoken_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tiktoken_cache))
    corpus = {"sources": [str(shared_data / "tinystories-sample.txt")]}
    training = {"steps": 20, "evaluate_every": 10, "evaluate_tokens": 4000}
    outcome = train_recipe("notebook", tmp_path, monkeypatch, corpus=corpus, training=training)
    run = open_run(str(outcome.directory.path))
    assert run.model.num_parameters() == 13_716_049
    assert outcome.finished.best_loss < 8.0  # log(50257) is 10.8


@pytest.mark.parametrize("name", ["gpt2-small", "notebook", "shakespeare-char", "story", "tinytales"])
def test_every_recipe_is_a_whole_config_and_says_what_it_is(name: str) -> None:
    config = configs.from_dict(RunConfig, read_recipe(name), origin=name)
    assert dataclasses.asdict(config)["training"]["steps"] > 0
    text = (Path(__file__).parents[2] / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    for word in ("Shows", "Takes", "Expect"):
        assert f"# {word}" in text
