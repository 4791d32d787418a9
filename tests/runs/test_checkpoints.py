"""Checkpoints are whole or absent: flipped bits, kills, full disks, and what is kept."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from glassgpt import files
from glassgpt.errors import CheckpointError, GlassGPTError
from glassgpt.files import broken_seal
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.runs.checkpoints import CheckpointStore, load_checkpoint, read_tensors
from glassgpt.runs.claim import writing
from glassgpt.runs.directory import RunDirectory
from glassgpt.training.state import Progress, TrainerState, capture, restore
from tests.fixtures import places

TINY = ModelConfig(vocab_size=20, context_length=8, n_layer=1, n_head=2, n_embd=8, dropout=0.3)


def real_training(seed: int = 0) -> tuple[GPT, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = GPT(TINY)
    return model, torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)


def updates(model: nn.Module, optimizer: torch.optim.Optimizer, n: int) -> list[float]:
    """Train for `n` steps on random data with dropout; the losses depend on every bit of the state."""
    losses = []
    for _ in range(n):
        ids = torch.randint(20, (2, 9))
        loss = nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss = loss * (1 + random.random() + np.random.random())  # noqa: NPY002
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def small(step: int, *, size: int = 50) -> TrainerState:
    """A state in which every number shows its step."""
    return TrainerState(
        progress=Progress(step=step, best_loss=9.0 - step),
        model={"weight": torch.full((size,), float(step))},
        optimizer={"0.step": torch.tensor(float(step)), "0.exp_avg": torch.full((size,), step / 2)},
        random={"torch": torch.get_rng_state()},
        plain={"numpy": ["MT19937", step, 0, 0.0], "python": [3, None]},
    )


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep=3)


def names(store: CheckpointStore) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in store.steps()]


def newest(store: CheckpointStore) -> tuple[int, list[str]]:
    """The step that training continues from, and the lines that were said."""
    said: list[str] = []
    state = store.load_newest(said.append)
    assert state is not None
    assert (state.model["weight"] == state.progress.step).all()
    return state.progress.step, said


# ---- the round trip


def test_everything_comes_back_bit_for_bit(store):
    model, optimizer = real_training()
    updates(model, optimizer, 3)
    progress = Progress(3, 48, 1.25, 2.5, 2, 3, 1)
    state = capture(model, optimizer, progress)
    path = store.save(state)
    assert path.name == "step-00000003"
    loaded = store.load_newest()
    assert loaded is not None
    assert loaded.progress == progress
    assert loaded.plain == state.plain
    for kind in ("model", "optimizer", "random"):
        mine, theirs = getattr(state, kind), getattr(loaded, kind)
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert mine[name].dtype == theirs[name].dtype, name
            assert torch.equal(mine[name], theirs[name]), name
    assert len(state.optimizer) == 3 * len(list(model.parameters()))  # step, exp_avg, exp_avg_sq


def test_training_goes_on_as_if_nothing_had_happened(store):
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    model, optimizer = real_training()
    updates(model, optimizer, 3)
    store.save(capture(model, optimizer, Progress(3)))
    expected = updates(model, optimizer, 4)

    other, other_optimizer = real_training(seed=99)
    updates(other, other_optimizer, 1)
    state = store.load_newest()
    assert state is not None
    assert restore(state, other, other_optimizer).step == 3
    assert updates(other, other_optimizer, 4) == expected
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_optimizer_is_keyed_by_the_names_of_weights(store):
    """So a checkpoint depends neither on the order of groups nor on how weights are distributed."""
    model, optimizer = real_training()
    updates(model, optimizer, 2)
    state = capture(model, optimizer, Progress(step=2))
    weights = {key.rpartition(".")[0] for key in state.optimizer}
    assert weights == {name for name, _ in model.named_parameters()}
    moment = state.optimizer["blocks.0.mlp.up.weight.exp_avg"]
    assert moment.shape == model.get_parameter("blocks.0.mlp.up.weight").shape


def test_an_optimizer_with_its_groups_in_another_order_goes_on(store):
    model, optimizer = real_training()
    updates(model, optimizer, 3)
    store.save(capture(model, optimizer, Progress(step=3)))
    expected = updates(model, optimizer, 3)
    loaded = store.load_newest()
    assert loaded is not None
    again, _ = real_training(seed=1)
    reversed_groups = [{"params": [weight]} for weight in reversed(list(again.parameters()))]
    other = torch.optim.AdamW(reversed_groups, **{key: optimizer.defaults[key] for key in ("lr", "betas", "eps")},
                              weight_decay=optimizer.defaults["weight_decay"])  # fmt: skip
    restore(loaded, again, other)
    assert updates(again, other, 3) == pytest.approx(expected, rel=1e-6)


def test_a_checkpoint_of_a_newer_format_is_not_guessed_at(store):
    model, optimizer = real_training()
    path = store.save(capture(model, optimizer, Progress(step=1)))
    facts = files.read_json(path / "state.json")
    files.write_json(path / "state.json", {**facts, "version": 99})
    with pytest.raises(CheckpointError, match=r"newer version of GlassGPT wrote it, in format 99"):
        load_checkpoint(path)


def test_a_state_before_the_first_update_has_no_moments_and_can_be_saved(store):
    model, optimizer = real_training()
    store.save(capture(model, optimizer, Progress()), best=True)
    state = store.load_newest()
    assert state is not None
    assert state.optimizer == {}
    assert state.progress.best_loss == float("inf")


def test_nothing_saved_yet(store):
    assert store.load_newest() is None
    assert store.best() is None
    assert store.newest() is None
    assert store.best_step() == -1


# ---- what is kept


def test_the_newest_and_the_best_are_kept(store):
    best = {1, 2, 5}
    kept = []
    for step in range(1, 10):
        store.save(small(step), best=step in best)
        kept.append(names(store))
    assert kept == [
        [1], [1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6], [5, 6, 7], [5, 6, 7, 8], [5, 7, 8, 9],
    ]  # fmt: skip
    assert store.best() == store.folder / "step-00000005"
    assert store.best_step() == 5
    assert store.newest() == store.folder / "step-00000009"


def test_the_same_step_is_not_written_twice(store):
    path = store.save(small(4), best=True)
    before = (path / "manifest.json").stat()
    assert store.save(small(4), best=False) == path
    assert (path / "manifest.json").stat().st_ino == before.st_ino
    assert store.best() == path  # resuming asks for the step again, and does not know that it was the best


def test_a_broken_checkpoint_of_the_same_step_is_written_again(store):
    path = store.save(small(4))
    (path / "model.safetensors").unlink()
    store.save(small(4))
    assert broken_seal(path) is None


@pytest.mark.parametrize("keep", [1, 2])
def test_a_broken_newest_one_does_not_push_out_the_good_ones(tmp_path, keep):
    """With keep = 1, step 8 was once saved again and removed at once, because the broken 9 counted as the newest:
    nothing whole was left."""
    store = CheckpointStore(tmp_path, keep=keep)
    for step in (7, 8, 9):
        CheckpointStore(tmp_path, keep=3).save(small(step))
    flip(store.folder / "step-00000009" / "model.safetensors", -1)
    flip(store.folder / "step-00000008" / "model.safetensors", -1)
    assert newest(store)[0] == 7
    store.save(small(8))
    assert newest(store) == (8, [])
    assert names(store) == [7, 8][-keep:]


def test_a_broken_best_one_is_not_offered(store):
    store.save(small(1), best=True)
    store.save(small(2))
    flip(store.folder / "step-00000001" / "model.safetensors", -1)
    assert store.best() is None
    assert store.newest() == store.folder / "step-00000002"


def test_other_things_in_the_folder_are_left_alone(store):
    store.save(small(1))
    for name in ("step-00000009.bak", "notes"):
        (store.folder / name).mkdir()
    assert newest(store) == (1, [])
    for step in (2, 3, 4, 5):
        store.save(small(step))
    assert names(store) == [3, 4, 5]
    assert (store.folder / "step-00000009.bak").is_dir()


# ---- what breaks


def flip(path: Path, position: int, bit: int = 3) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


FILES = ("model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json", "manifest.json")


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_is_noticed_and_the_one_before_is_taken(store, name):
    store.save(small(1))
    path = store.save(small(2)) / name
    original = path.read_bytes()
    for position in range(0, len(original), max(1, len(original) // 60)):
        flip(path, position, bit=position % 8)
        step, said = newest(store)
        assert step == 1, (position, path.read_bytes()[position])
        assert len(said) == 1
        assert "step-00000002 cannot be used" in said[0]
        path.write_bytes(original)
    assert newest(store) == (2, [])


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_or_missing_file_is_noticed(store, name):
    store.save(small(1))
    path = store.save(small(2)) / name
    original = path.read_bytes()
    for length in (0, 1, len(original) // 2, len(original) - 1):
        path.write_bytes(original[:length])
        if name == "manifest.json" and length == len(original) - 1:
            continue  # the line end alone: nothing is lost
        assert newest(store)[0] == 1
    path.unlink()
    step, said = newest(store)
    assert step == 1
    expected = "it was never finished" if name == "manifest.json" else f"{name} is missing"
    assert expected in said[0]


def test_several_broken_ones_are_passed_over_one_by_one(store):
    for step in (1, 2, 3):
        store.save(small(step))
    shutil.rmtree(store.folder / "step-00000003")
    (store.folder / "step-00000003").mkdir()
    (store.folder / "step-00000002" / "manifest.json").unlink()
    step, said = newest(store)
    assert step == 1
    assert [line.split(" ")[2] for line in said] == ["step-00000003", "step-00000002"]


def test_when_none_is_whole_it_says_so(store):
    for step in (1, 2):
        flip(store.save(small(step)) / "state.json", 10)
    said: list[str] = []
    with pytest.raises(CheckpointError, match=r"None of the checkpoints in .* is whole"):
        store.load_newest(said.append)
    assert len(said) == 2
    assert store.newest() is None
    assert store.best() is None


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{", b"PK\x03\x04 a zip, as torch.save writes"])
def test_a_file_that_is_no_safetensors_file_is_named(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_tensors(path)
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "missing.safetensors")


# ---- crashes


def test_only_the_next_writer_clears_what_a_crash_left(tmp_path):
    """Opening a run during its training once deleted the checkpoint that was being written."""
    run = RunDirectory(tmp_path)
    store = CheckpointStore(run.checkpoints)
    store.save(small(1))
    half = store.folder / ".step-00000002.1a2b3c4d"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half of it")
    store.steps(), store.best(), store.newest(), store.load_newest()
    assert half.is_dir()
    store.save(small(3))
    assert half.is_dir()
    with writing(run):
        assert not half.exists()
    assert newest(store) == (3, [])


SAVE_UNTIL_KILLED = textwrap.dedent(
    """
    import os, random, signal, struct, sys, time
    from pathlib import Path
    import torch
    from glassgpt.runs.checkpoints import CheckpointStore
    from glassgpt.training.state import Progress, TrainerState

    torch.set_num_threads(1)
    store = CheckpointStore(Path(sys.argv[1]), keep=2)
    acknowledged = Path(sys.argv[2])
    random.seed(4)

    def state(step):
        return TrainerState(Progress(step), {"w": torch.full((40_000,), float(step))},
                            {"m": torch.full((80_000,), float(step))}, {"r": torch.zeros(9)}, {"step": step})

    def save_for_ever(step):
        with open(acknowledged, "r+b", buffering=0) as file:
            while True:
                step += 1
                store.save(state(step), best=step % 3 == 0)
                os.pwrite(file.fileno(), struct.pack("q", step), 0)

    acknowledged.write_bytes(struct.pack("q", 0))
    halves = 0
    for _ in range(25):
        said = []
        found = store.load_newest(said.append)
        step = found.progress.step if found else 0
        promised = struct.unpack("q", acknowledged.read_bytes())[0]
        assert said == [], said                     # a kill leaves nothing that looks finished and is not
        assert step >= promised, (step, promised)   # what save() returned from is there
        if found:
            assert (found.model["w"] == step).all() and (found.optimizer["m"] == step).all()
            assert found.plain["step"] == step
        child = os.fork()
        if child == 0:
            save_for_ever(step)
        begun = step + 1 + random.randrange(3)  # a disk may be slow: each has saved something before it is killed
        while struct.unpack("q", acknowledged.read_bytes())[0] < begun:
            time.sleep(0.001)
        time.sleep(random.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        halves += any(store.folder.glob(".step-*"))
    print(step, halves)
    """
)


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    """25 processes that save without a pause are killed by the system, each at another moment."""
    done = subprocess.run(
        [sys.executable, "-c", SAVE_UNTIL_KILLED, str(tmp_path / "checkpoints"), str(tmp_path / "acknowledged")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    saved, halves = (int(word) for word in done.stdout.split())
    assert saved > 3
    assert halves > 3  # kills did fall into the middle of a save


def test_a_full_disk_leaves_the_last_good_checkpoint(small_disk):
    """With any room from none to almost enough, so that each of the files once does not fit."""
    store = CheckpointStore(small_disk / "checkpoints")
    store.save(small(1, size=10_000))
    filler = small_disk / "filler"
    failures = set()
    for room in range(0, 90_000, 6_000):
        filler.write_bytes(b"")
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(bytes(max(0, free - room)))
        try:
            store.save(small(2, size=10_000))
        except GlassGPTError as error:
            assert "The disk is full" in str(error)  # noqa: PT017
            failures.add(room)
            assert names(store) == [1]
            assert newest(store) == (1, [])
            assert list(store.folder.glob(".*")) == []  # and the room is given back
        else:
            break
    assert len(failures) > 5
    filler.unlink()
    store.save(small(2, size=10_000))
    assert newest(store) == (2, [])


@pytest.fixture
def small_disk(tmp_path: Path):
    """A separate file system of 400 kB."""
    with places.small_disk(tmp_path / "disk", "400k") as folder:
        yield folder


def test_a_loaded_checkpoint_does_not_need_its_files_any_more(store):
    path = store.save(small(1))
    state = load_checkpoint(path)
    shutil.rmtree(path)
    assert (state.model["weight"] == 1).all()
