"""What a training holds: a claim for all ranks, a beginning that loses nothing, checkpoints in its own folder only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from glassgpt.device import World, seed_everything
from glassgpt.errors import RunError
from glassgpt.jobs.holding import go_on_from, is_unborn, on_all_ranks, saving
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.runs.checkpoints import CheckpointStore
from glassgpt.runs.claim import take, writing
from glassgpt.runs.directory import RunDirectory
from glassgpt.training.config import TrainingConfig
from glassgpt.training.optimizers import make_optimizer
from glassgpt.training.state import Progress, capture

TINY = ModelConfig(vocab_size=20, context_length=8, n_layer=1, n_head=2, n_embd=8)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "tale").mkdir()
    return RunDirectory(tmp_path / "tale")


def fresh(seed: int) -> tuple[GPT, torch.optim.Optimizer]:
    seed_everything(seed)
    model = GPT(TINY)
    return model, make_optimizer(model, TrainingConfig(device="cpu", precision="float32"))


def nothing(_: str) -> None:
    """Say nothing."""


def test_the_claim_is_held_during_the_block_and_no_longer(run: RunDirectory) -> None:
    with on_all_ranks(lambda: writing(run), World()) as claim:
        assert claim.run.path == run.path
        with pytest.raises(RunError, match="since"), writing(run):
            pass
    with writing(run):
        pass


def test_a_run_is_unborn_until_anything_of_it_could_be_lost(run: RunDirectory) -> None:
    assert is_unborn(run)
    for path in (run.lineage, run.weights):
        path.write_text("{}")
        assert not is_unborn(run)
        path.unlink()
    run.lineage.symlink_to("nowhere")  # a link that leads nowhere is damage, not a beginning
    assert not is_unborn(run)


def test_it_continues_from_the_newest_checkpoint_or_from_the_beginning(run: RunDirectory) -> None:
    store = CheckpointStore(run.checkpoints)
    model, optimizer = fresh(1)
    assert go_on_from(store, run, model, optimizer, nothing) is None
    with writing(run) as claim:
        saving(claim, store)(capture(model, optimizer, Progress(step=3, steps=9)), True)
    other, its_optimizer = fresh(2)
    progress = go_on_from(store, run, other, its_optimizer, nothing)
    assert progress is not None
    assert (progress.step, progress.steps) == (3, 9)
    theirs = other.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in model.state_dict().items())


def test_trained_weights_without_a_checkpoint_are_not_trained_over(run: RunDirectory) -> None:
    """Starting again from the beginning would replace weights that may have taken days."""
    run.weights.write_bytes(b"weights")
    model, optimizer = fresh(1)
    with pytest.raises(RunError, match=r"has trained weights but no checkpoint.*can still be used"):
        go_on_from(CheckpointStore(run.checkpoints), run, model, optimizer, nothing)


def test_no_checkpoint_is_written_where_the_run_was_deleted(run: RunDirectory) -> None:
    model, optimizer = fresh(1)
    state = capture(model, optimizer, Progress(step=3, steps=9))
    claim = take(run)
    save = saving(claim, CheckpointStore(run.checkpoints))
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match="was deleted or moved"):
        save(state, False)
    claim.let_go()
    assert not run.path.exists()
