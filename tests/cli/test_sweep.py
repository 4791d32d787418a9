"""`glassgpt sweep` and `glassgpt resume --all`: many runs by one command, which can be stopped at any moment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.lineage import note_weights
from tests.cli.conftest import SMALL, Command, refused

FEW = (
    *(option for option in SMALL if "n-layer" not in option and "samples" not in option),
    "--training.warmup-steps=1",
    "--training.sample-every=0",
)
TWO = ("sweep", "text.txt", *FEW, "--learning-rate", "1e-3,1e-2", "--name", "try")
ENDLESS = (
    *(option for option in FEW if "steps=6" not in option and "evaluate-every" not in option),
    "--training.steps=1000000",
    "--training.evaluate-every=1000000",
)
NAMES = ["try-learning_rate=0.001-seed=1337", "try-learning_rate=0.01-seed=1337"]


def weights(name: str) -> bytes:
    return Path(f"runs/{name}/model.safetensors").read_bytes()


def killed(name: str) -> None:
    """Leave a run as a kill after its first checkpoint does."""
    run = RunDirectory(Path("runs") / name)
    run.weights.unlink()
    note_weights(run, None)
    shutil.rmtree(max(run.checkpoints.iterdir()))
    lines = run.metrics.read_text().splitlines(keepends=True)
    run.metrics.write_text("".join(line for line in lines if '"finished"' not in line))


def rows(glassgpt: Command, *words: str) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(glassgpt("runs", *words, "--json").output)}


def test_made_compared_the_best_named_and_exported_in_three_commands(
    workplace: Path, glassgpt: Command
) -> None:
    done = glassgpt(*TWO, "--seeds", "2")
    assert done.status == 0, done.errors
    found = rows(glassgpt, "--sweep", "try")
    assert len(found) == 4
    best = min(found.values(), key=lambda row: row["bits_per_byte"])
    assert best["best"]
    assert f"Best run: {best['name']}." in done.output
    assert f"glassgpt train --config runs/{best['name']}/config.toml" in done.output
    for rate in (0.001, 0.01):
        losses = [row["bits_per_byte"] for row in found.values() if row["training.learning_rate"] == rate]
        mean, error = sum(losses) / 2, abs(losses[0] - losses[1]) / 2  # the error of a mean of two
        assert re.search(rf"\b{mean:.4f} +{error:.4f}\b", done.output), done.output
    assert "learning_rate" in done.output.partition("What mattered")[2]
    assert glassgpt("runs", "compare", "try-*").status == 0
    assert glassgpt("runs", "--sweep", "try", "--csv").output.count("\n") == 5
    assert "small" not in glassgpt("runs", "--sweep", "try").output


@pytest.mark.slow
def test_the_same_command_skips_finished_runs_and_resumes_a_killed_one_exactly(
    workplace: Path, glassgpt: Command
) -> None:
    assert glassgpt(*TWO).status == 0
    before = [weights(name) for name in NAMES]
    times = Path(f"runs/{NAMES[0]}/metrics.jsonl").stat().st_mtime_ns
    killed(NAMES[1])
    assert glassgpt(*TWO).status == 0
    assert [weights(name) for name in NAMES] == before
    assert Path(f"runs/{NAMES[0]}/metrics.jsonl").stat().st_mtime_ns == times
    killed(NAMES[0])
    killed(NAMES[1])
    done = glassgpt("resume", "--all")
    assert done.status == 0, done.errors
    assert "2 of 2 unfinished runs are finished now." in done.output
    assert [weights(name) for name in NAMES] == before
    further = glassgpt(*TWO, "--seeds", "2")
    assert further.status == 0, further.errors
    assert [weights(name) for name in NAMES] == before
    assert len(rows(glassgpt, "--sweep", "try")) == 4


def test_a_failing_combination_is_a_row_with_its_reason(workplace: Path, glassgpt: Command) -> None:
    options = [option for option in FEW if "context-length" not in option]
    done = glassgpt("sweep", "text.txt", *options, "--context-length=16,100000", "--name", "c", "--n-layer=1")
    assert done.status == 0, done.errors
    assert "failed" in done.output
    assert "Best run: c-context_length=16-seed=1337." in done.output
    assert set(rows(glassgpt, "c-*")) == {"c-context_length=16-seed=1337"}


def test_everything_is_checked_before_the_first_run(workplace: Path, glassgpt: Command) -> None:
    def sweep(*words: str) -> tuple[str, ...]:
        return ("sweep", "text.txt", *FEW, "--name", "no", *words)

    refused(glassgpt(*sweep()), "needs a setting with several values")
    refused(glassgpt(*sweep("--training.learning-rate=1e-3,fast")), "training.learning_rate=1e-3,fast")
    refused(glassgpt(*sweep("--training.learning-rate=1e-3,-1")), "learning_rate must be greater than 0")
    refused(glassgpt(*sweep("--model.n-layer=1,100000000")), "memory")
    refused(glassgpt(*sweep("--training.momentum=0.8,0.9")), "momentum has no effect")
    refused(glassgpt("sweep", "nowhere.txt", *FEW, "--seeds=2"), "nowhere.txt")
    refused(glassgpt(*sweep("--seeds=2", "--side-by-side=100")), "--side-by-side must be from 1")
    refused(glassgpt(*sweep("--seeds=2", "--training.seed=1,2")), "--seeds has no effect")
    assert "Did you mean --training.learning-rate?" in glassgpt(*sweep("--training.learning-rat=1,2")).errors
    assert [path.name for path in Path("runs").iterdir()] == ["small"]


def test_another_sweep_needs_another_name(workplace: Path, glassgpt: Command) -> None:
    path = Path("runs/try.sweep.json")
    assert glassgpt(*TWO).status == 0
    refused(glassgpt(*TWO, "--training.clip=0.5"), "training.clip", "another --name")
    refused(glassgpt("sweep", "text.txt", *FEW, "--name=try", "--n-layer=1,2"), "another --name")
    refused(glassgpt("runs", "--sweep", "tri"), "Did you mean try?")
    path.write_text("{")
    refused(glassgpt("runs", "--sweep", "try"), "cannot be read")
    refused(glassgpt("resume", "small", "--all"), "RUN has no effect with --all")


@pytest.mark.slow
def test_a_signal_stops_the_sweep_and_saves_the_run(workplace: Path, glassgpt: Command) -> None:
    from glassgpt.pretraining.sweep import Listening, run_sweep
    from glassgpt.runs.sweeps import Sweep, Trial, read_sweep
    from glassgpt.training.events import Event, StepsFinished

    assert glassgpt(*TWO).status == 0
    before = weights(NAMES[0])
    for name in NAMES:
        shutil.rmtree(f"runs/{name}")

    stopped: list[Event] = []

    def stop(_trial: Trial, event: Event) -> None:
        if isinstance(event, StepsFinished) and not stopped:
            stopped.append(event)
            os.kill(os.getpid(), signal.SIGINT)

    sweep: Sweep = read_sweep("try")
    assert run_sweep(sweep, listening=Listening(event=stop)) == []
    assert [row["state"] for row in rows(glassgpt, "try-*").values()] == ["interrupted"]
    assert len(run_sweep(sweep)) == 2
    assert weights(NAMES[0]) == before


@pytest.mark.slow
def test_side_by_side_gives_the_same_runs(workplace: Path, glassgpt: Command, all_cores: None) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    assert glassgpt(*TWO).status == 0
    before = [weights(name) for name in NAMES]
    for name in NAMES:
        shutil.rmtree(f"runs/{name}")
    done = glassgpt(*TWO, "--side-by-side", "2")
    assert done.status == 0, done.errors
    assert [weights(name) for name in NAMES] == before
    shutil.rmtree(f"runs/{NAMES[0]}")
    killed(NAMES[1])
    assert glassgpt(*TWO, "--side-by-side", "2").status == 0
    assert [weights(name) for name in NAMES] == before


def running_sweep(folder: Path) -> subprocess.Popen[bytes]:
    """Start a sweep of two runs side by side that would take hours; return when both train."""
    words = (
        "sweep",
        "text.txt",
        *ENDLESS,
        "--learning-rate",
        "1e-3,1e-2",
        "--name",
        "try",
        "--side-by-side",
        "2",
    )
    process = subprocess.Popen([sys.executable, "-m", "glassgpt", *words], cwd=folder, start_new_session=True)
    give_up = time.monotonic() + 60
    while not all((folder / "runs" / name / "metrics.jsonl").is_file() for name in NAMES):
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "Ctrl-C"])
def test_a_sweep_side_by_side_leaves_no_orphans(
    workplace: Path, glassgpt: Command, all_cores: None, how: str
) -> None:
    """The processes of a killed sweep went on training, held their runs, and nobody knew of them."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    process = running_sweep(workplace)
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(getattr(signal, how))
    status = process.wait(timeout=60)
    assert status == (-signal.SIGKILL if how == "SIGKILL" else 130)
    give_up = time.monotonic() + 60
    while {row["state"] for row in rows(glassgpt, "try-*").values()} != {"interrupted"}:
        assert time.monotonic() < give_up
        time.sleep(0.2)


@pytest.mark.slow
def test_a_process_of_a_sweep_stops_when_the_sweep_is_gone(workplace: Path, glassgpt: Command) -> None:
    pipe, to_close = os.pipe()
    words = ["train", "text.txt", *ENDLESS, "--name=apart"]
    process = subprocess.Popen(
        [sys.executable, "-m", "glassgpt.cli.tied", str(pipe), *words],
        pass_fds=(pipe,),
        start_new_session=True,
    )
    while not Path("runs/apart/metrics.jsonl").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    os.close(to_close)
    assert process.wait(timeout=60) == 130
    os.close(pipe)
    assert rows(glassgpt, "apart")["apart"]["state"] == "interrupted"
