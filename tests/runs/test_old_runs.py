"""Run directories of earlier versions open, go on, and end as they would have then (see tests/fixtures)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glassgpt.finetuning.run import resume_finetuning
from glassgpt.generation.text import GenerationConfig
from glassgpt.pretraining.run import resume_run
from glassgpt.runs.opening import open_run
from glassgpt.runs.records import read_events
from glassgpt.training.events import Evaluated, StepsFinished

FIXTURE = Path(__file__).parents[1] / "fixtures" / "runs-0.1.0"
WRITTEN_AT = "/home/ada/garden"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old project, at the place its files name."""
    folder = Path(shutil.copytree(FIXTURE, tmp_path / "garden"))
    for path in [*folder.rglob("*.toml"), *folder.rglob("lineage.json")]:
        path.write_text(path.read_text().replace(WRITTEN_AT, str(folder)))
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
    """To rounding: another processor may round a sum of products otherwise."""
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
