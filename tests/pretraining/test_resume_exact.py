"""A run that is killed at any moment and resumed ends with the same bits as an uninterrupted run.

Real processes are killed with SIGKILL, which no program can catch: while they prepare data, at random points of
training, and while they write checkpoints. Then the weights, the optimizer and every random generator of the last
checkpoint are compared with those of an undisturbed run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.fixtures.quick import quick
from tests.pretraining.forked import Forked

STEPS = 120
SETTINGS = (
    "builtin:tinytales:1500",
    f"--training.steps={STEPS}",
    "--training.evaluate-every=15",
    "--training.checkpoint-every=5",
    "--training.evaluate-tokens=2000",
    "--training.log-every=5",
    "--training.threads=1",
    "--training.precision=float32",
    "--training.batch-size=4",
    "--tokenizer.vocab-size=400",
    "--model.context-length=32",
    "--model.n-layer=2",
    "--model.n-head=2",
    "--model.n-embd=32",
    "--model.dropout=0.2",
    "--samples.max-tokens=8",
)


def start(folder: Path, name: str, cache: Path) -> Forked:
    """Begin the run, or continue it if it exists, in a separate process."""
    exists = (folder / name / "config.toml").is_file()
    arguments = ["resume", name] if exists else ["train", *SETTINGS, "--name", name]
    place = {"GLASSGPT_RUNS": str(folder), "GLASSGPT_CACHE": str(cache)}
    return Forked(*arguments, output=folder / f"{name}.txt", **place)


def finish(folder: Path, name: str, cache: Path) -> None:
    process = start(folder, name, cache)
    assert process.wait() == 0, process.printed


def last_step(folder: Path, name: str) -> int:
    """The last step in metrics.jsonl, or -1 before training has begun."""
    path = folder / name / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return json.loads(lines[-1])["step"] if lines else -1


def wait_until(done: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.005)


def kill_after(process: Forked, folder: Path, name: str, *, steps: int, delay: float) -> None:
    """Kill after this number of further steps and some more time."""
    wanted = last_step(folder, name) + steps
    wait_until(lambda: last_step(folder, name) >= wanted or process.returncode is not None)
    time.sleep(delay)
    process.kill()


def assert_same_weights(run: Path, other: Path) -> None:
    assert (run / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def assert_same_state(one: Path, other: Path) -> None:
    for name in ("model", "optimizer", "random"):
        ours, theirs = load_file(one / f"{name}.safetensors"), load_file(other / f"{name}.safetensors")
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            assert torch.equal(tensor, theirs[key]), f"{name}: {key} differs"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command, started as a shell starts it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    command = [sys.executable, "-m", "glassgpt", "train", *SETTINGS, "--name", "calm"]
    place = {"GLASSGPT_RUNS": str(folder), "GLASSGPT_CACHE": str(folder / "cache")}
    subprocess.run(command, env={**os.environ, **place}, stdout=subprocess.DEVNULL, check=True, timeout=120)
    return folder / "calm"


def test_killed_at_random_points(undisturbed: Path, tmp_path: Path) -> None:
    seed = random.randrange(10_000)  # different points each time; the seed is shown when the test fails
    rng = random.Random(seed)
    cache, kills = tmp_path / "cache", 0
    for _ in range(4):  # close together, so that the run is not over before the second one
        process = start(tmp_path, "killed", cache)
        kill_after(process, tmp_path, "killed", steps=rng.randint(1, 15), delay=rng.random() * 0.05)
        kills += process.returncode == -signal.SIGKILL
    finish(tmp_path, "killed", cache)
    assert kills >= 2, seed
    last = f"step-{STEPS:08d}"
    assert_same_state(undisturbed / "checkpoints" / last, tmp_path / "killed" / "checkpoints" / last)
    ours, theirs = ((run / "model.safetensors").read_bytes() for run in (undisturbed, tmp_path / "killed"))
    assert ours == theirs, seed


@pytest.mark.slow
def test_killed_while_preparing(undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "early", tmp_path / "cache")
    wait_until((tmp_path / "cache").is_dir, seconds=30)
    process.kill()
    finish(tmp_path, "early", tmp_path / "cache")
    assert_same_weights(tmp_path / "early", undisturbed)


def test_metrics_have_each_step_once(undisturbed: Path, tmp_path: Path) -> None:
    """After a kill and a resume, metrics.jsonl has each step once, with the same losses."""
    process = start(tmp_path, "told", tmp_path / "cache")
    kill_after(process, tmp_path, "told", steps=40, delay=0.02)
    finish(tmp_path, "told", tmp_path / "cache")

    def losses(run: Path, kind: str) -> list[tuple[int, float]]:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [(line["step"], line["loss"]) for line in lines if line["event"] == kind]

    for kind in ("step", "evaluation"):
        assert losses(tmp_path / "told", kind) == losses(undisturbed, kind)


@pytest.mark.parametrize("number", quick([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], signal.SIGTERM))
def test_asked_to_stop_it_saves_and_prints_how_to_resume(
    undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, "asked", tmp_path / "cache")
    wait_until(lambda: last_step(tmp_path, "asked") >= 10)
    process.send_signal(number)
    assert process.wait() == 130
    assert f"glassgpt resume {tmp_path / 'asked'}" in process.printed
    assert "Traceback" not in process.printed
    finish(tmp_path, "asked", tmp_path / "cache")
    assert_same_weights(tmp_path / "asked", undisturbed)


@pytest.mark.slow
def test_a_closed_terminal_loses_nothing(undisturbed: Path, tmp_path: Path) -> None:
    """The terminal closes and sends two signals, as the shell and the system do; no output is possible any more."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "glassgpt", "train", *SETTINGS, "--name", "closed"],
        env={**os.environ, "GLASSGPT_RUNS": str(tmp_path), "GLASSGPT_CACHE": str(tmp_path / "cache")},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    wait_until(lambda: last_step(tmp_path, "closed") >= 10)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 130
    events = [
        json.loads(line)["event"] for line in (tmp_path / "closed/metrics.jsonl").read_text().splitlines()
    ]
    assert events[-1] == "finished"
    assert not list((tmp_path / "closed").glob(".*"))
    finish(tmp_path, "closed", tmp_path / "cache")
    assert_same_weights(tmp_path / "closed", undisturbed)


@pytest.mark.slow
def test_stopped_twice_while_saving_it_can_still_be_resumed(undisturbed: Path, tmp_path: Path) -> None:
    """The second signal interrupts the saving: what was saved stays complete, and half a checkpoint is removed."""
    process = start(tmp_path, "twice", tmp_path / "cache")
    wait_until(lambda: last_step(tmp_path, "twice") >= 10)
    process.send_signal(signal.SIGTERM)
    half = tmp_path / "twice" / "checkpoints"
    while process.returncode is None and not list(half.glob(".step-*")):
        time.sleep(0.0005)
    process.send_signal(signal.SIGTERM)
    process.wait()
    finish(tmp_path, "twice", tmp_path / "cache")
    assert not list(half.glob(".*"))
    assert_same_weights(tmp_path / "twice", undisturbed)


@pytest.mark.slow
def test_two_processes_prepare_the_same_text_once(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "glassgpt", "train", *SETTINGS, "--name", name],
            env={**os.environ, "GLASSGPT_RUNS": str(tmp_path), "GLASSGPT_CACHE": str(cache)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("Training a bpe tokenizer." in output for output in said) == 1
    (folder,) = (cache / "prepared").iterdir()
    assert not list(folder.glob(".*.*.????????"))
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
