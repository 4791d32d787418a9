"""Run directories of earlier versions open, resume, and end as they would have then (see tests/fixtures)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glassgpt import files
from glassgpt.errors import RunError
from glassgpt.finetuning.run import resume_finetuning
from glassgpt.generation.text import GenerationConfig
from glassgpt.pretraining.run import resume_run
from glassgpt.runs.opening import open_run
from glassgpt.runs.records import read_events
from glassgpt.training.events import Evaluated, StepsFinished
from tests.fixtures.garden import FIXTURES, at_its_place, weights_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of the first published version, at the place that its files name."""
    return entered("runs-0.1.0", tmp_path, monkeypatch)


@pytest.fixture
def later_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of November 2026: Muon and a sliding window, and all kinds of fine-tuning."""
    return entered("runs-2026-11", tmp_path, monkeypatch)


def entered(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = at_its_place(FIXTURES / name, tmp_path)
    monkeypatch.setenv("GLASSGPT_RUNS", str(folder / "runs"))
    monkeypatch.chdir(folder)
    return folder


def losses(path: Path) -> list[tuple[int, float]]:
    return [
        (event.step, event.loss)
        for event in read_events(path)
        if isinstance(event, StepsFinished | Evaluated)
    ]


def assert_near(found: Path, expected: Path) -> None:
    """Equal up to rounding: another processor may round a sum of products differently."""
    ours, theirs = load_file(found), load_file(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-3)


def assert_same_story(found: Path, expected: Path) -> None:
    ours, theirs = losses(found), losses(expected)
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    assert [loss for _, loss in ours] == pytest.approx([loss for _, loss in theirs], abs=1e-3)


def test_old_runs_open_and_write(project: Path) -> None:
    for name in ("garden", "whole", "polite"):
        run = open_run(name)
        assert run.complete("The", GenerationConfig(max_tokens=4, seed=0))


def test_an_old_training_goes_on_to_the_end_it_would_have_had(project: Path) -> None:
    run = resume_run("garden").directory
    assert_near(run.weights, project / "runs/whole/model.safetensors")
    assert_same_story(run.metrics, project / "ends/garden.jsonl")


def test_an_old_fine_tuning_goes_on_to_the_end_it_would_have_had(project: Path) -> None:
    run = resume_finetuning("polite").directory
    assert_near(run.adapter / "adapter_model.safetensors", project / "ends/polite.safetensors")
    assert_same_story(run.metrics, project / "ends/polite.jsonl")


@pytest.mark.parametrize("name", ["choosy", "sorter"])
def test_an_old_fine_tuning_keeps_the_records_that_newer_ones_leave_out(project: Path, name: str) -> None:
    """Every fourth of its pairs has two equal answers; some of its labels are empty, and some begin with a space."""
    run = resume_finetuning(name).directory
    assert_near(run.adapter / "adapter_model.safetensors", project / f"ends/{name}.safetensors")
    assert_same_story(run.metrics, project / f"ends/{name}.jsonl")


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [("choosy", "pairs.json", '"In the gate."', '""'), ("sorter", "labels.csv", "a spade is dry", "")],
)
def test_an_old_fine_tuning_on_data_that_is_now_prepared_differently_is_refused(
    project: Path, name: str, file: str, old: str, new: str
) -> None:
    """Such as a record with an emptied answer: it is left out now, but was refused then."""
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new, 1))
    lineage = project / "runs" / name / "lineage.json"
    facts = json.loads(lineage.read_text())
    facts["data"]["sources"][0]["fingerprint"] = files.hash_file(project / file)  # as if it had been so then
    lineage.write_text(json.dumps(facts))
    with pytest.raises(
        RunError, match=r"reads 15 records.*version 0\.1\.0 read 16.*glassgpt finetune"
    ) as caught:
        resume_finetuning(name)
    assert "has changed" not in str(caught.value)


@pytest.mark.parametrize("name", ["garden", "whole", "polite", "choosy", "rewarded", "sorter", "small"])
def test_later_runs_open_and_write(later_project: Path, name: str) -> None:
    assert open_run(name).complete("The", GenerationConfig(max_tokens=4, seed=0))


def test_a_later_training_goes_on_to_the_end_it_had(later_project: Path) -> None:
    run = resume_run("garden").directory
    assert_near(run.weights, later_project / "ends/garden.safetensors")
    assert_same_story(run.metrics, later_project / "ends/garden.jsonl")


@pytest.mark.parametrize("name", ["polite", "choosy", "sorter", "small"])
def test_a_later_fine_tuning_goes_on_to_the_end_it_had(later_project: Path, name: str) -> None:
    run = resume_finetuning(name).directory
    assert_near(weights_of(run), later_project / f"ends/{name}.safetensors")
    assert_same_story(run.metrics, later_project / f"ends/{name}.jsonl")
    if name == "sorter":
        assert_near(run.path / "head.safetensors", later_project / "ends/sorter-head.safetensors")


def test_a_later_reinforcement_goes_on_for_the_updates_it_had_left(later_project: Path) -> None:
    """Its answers are sampled: the last bits of another processor may give others, so only the steps are compared."""
    run = resume_finetuning("rewarded").directory
    ours, theirs = losses(run.metrics), losses(later_project / "ends/rewarded.jsonl")
    assert [step for step, _ in ours] == [step for step, _ in theirs]
