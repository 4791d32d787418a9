"""Weights are kept for good at the steps that were asked for, also when a training is resumed, and can be looked at."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from glassgpt.errors import InspectionError
from glassgpt.inspection.over_time import chosen_steps, over_time
from glassgpt.inspection.seen import losses
from glassgpt.pretraining.run import resume_run
from glassgpt.runs.checkpoints import CheckpointStore, read_tensors
from glassgpt.runs.config import RunConfig
from glassgpt.runs.opening import open_run
from glassgpt.runs.steps import steps_of
from tests.fixtures.places import trained_in
from tests.inspection.conftest import CONFIG


def kept_every(steps: int, **training: object) -> RunConfig:
    changed = {"keep_every": steps, "keep_checkpoints": 1} | training
    return dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, **changed))


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = read_tensors(one), read_tensors(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_in(tmp_path_factory.mktemp("kept"), kept_every(5), "kept").path


def test_the_first_every_fifth_and_the_last_weights_stay(kept: Path) -> None:
    run = open_run(str(kept))
    assert sorted(path.name for path in run.directory.snapshots.iterdir()) == [
        f"step-{step:08d}.safetensors" for step in (0, 5, 10, 12)
    ]
    assert [step.step for step in steps_of(run.directory)] == [0, 5, 10, 12]


def test_what_is_kept_changes_nothing_of_the_training(kept: Path, trained: Path) -> None:
    """The same run without it ends with the same bits."""
    assert not (trained / "snapshots").exists()
    assert same_weights(kept / "model.safetensors", trained / "model.safetensors")


def test_weights_are_those_of_the_steps(kept: Path) -> None:
    """The loss falls from step to step, from that of a model that knows nothing."""
    run = open_run(str(kept))
    ids = run.prompt_ids("Once upon a time there was a little fox")
    found = dict(over_time(run, lambda model: float(losses(model, ids).mean())))
    assert list(found) == [0, 5, 10, 12]
    assert abs(found[0] - torch.tensor(300.0).log()) < 0.3
    assert found[12] < found[5] < found[0]
    assert found[12] == pytest.approx(float(losses(run.model, ids).mean()), abs=1e-6)


def test_a_resumed_training_keeps_the_same_weights(kept: Path, tmp_path: Path) -> None:
    """Killed after step 5, with what follows gone: the steps after it come out bit for bit."""
    other = trained_in(tmp_path, kept_every(5, keep_checkpoints=9), "other")
    folder = other.path
    for path in CheckpointStore(folder / "checkpoints").steps():
        if path.name > "step-00000005":
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    for path in (folder / "snapshots").glob("step-0000001*"):
        path.unlink()
    (folder / "model.safetensors").unlink()
    resume_run(str(folder), say=lambda line: None)
    kept_here = sorted((kept / "snapshots").iterdir())
    assert len(kept_here) == 4
    assert all(same_weights(folder / "snapshots" / path.name, path) for path in kept_here)


def test_checkpoints_are_steps_too_where_nothing_else_was_kept(trained: Path) -> None:
    run = open_run(str(trained))
    assert [step.step for step in steps_of(run.directory)] == [8, 12]
    assert [step for step, _ in over_time(run, lambda model: None)] == [8, 12]


def test_some_steps_are_chosen_far_apart(kept: Path) -> None:
    run = open_run(str(kept))
    assert [step.step for step in chosen_steps(run, 2)] == [0, 12]
    assert [step.step for step in chosen_steps(run, 3)] == [0, 10, 12]
    assert [step.step for step in chosen_steps(run, 9)] == [0, 5, 10, 12]
    assert [step.step for step in chosen_steps(run, 1)] == [12]


def test_a_run_without_weights_of_steps_is_told_how_to_keep_them(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in trained.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InspectionError, match=r"--training\.keep-every"):
        next(over_time(open_run(str(copy)), lambda model: None))
