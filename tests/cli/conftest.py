"""A small trained run, made once by the real command, and a way to call the command in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from glassgpt.cli.main import main

TEXT = "The cat sat on the mat. The dog sat on the log. A bird sang to the cat and the dog.\n\n" * 60
SMALL = (
    "--training.steps=6",
    "--training.evaluate-every=3",
    "--training.batch-size=4",
    "--training.threads=1",
    "--training.precision=float32",
    "--model.context-length=16",
    "--model.n-layer=1",
    "--model.n-head=2",
    "--model.n-embd=16",
    "--tokenizer.vocab-size=280",
    "--samples.max-tokens=8",
)

TINY = (
    "--training.steps=2",
    "--training.threads=1",
    "--training.precision=float32",
    "--model.n-layer=1",
    "--model.n-embd=16",
    "--model.n-head=2",
)
"""Used when a training should have been refused but begins."""


@dataclass
class Result:
    """What a command printed, and its exit status."""

    status: int
    output: str
    errors: str


Command = Callable[..., Result]


def refused(result: Result, *parts: str) -> None:
    """The command failed with one paragraph that contains each of `parts`."""
    assert result.status == 1, result
    assert "Traceback" not in result.errors
    assert len(result.errors) < 800, result.errors
    assert "Delete what is left" not in result.errors
    for part in parts:
        assert part in result.errors, (part, result.errors)


@pytest.fixture
def glassgpt(capsys: pytest.CaptureFixture[str]) -> Command:
    """Call the command line as a user would, but without a new process."""

    def call(*arguments: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        code = exit_.value.code
        return Result(code if isinstance(code, int) else 0, printed.out, " ".join(printed.err.split()))

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the text `text.txt` and `runs/small`, trained for a few steps. Copy it, never change it."""
    return train_small(tmp_path_factory.mktemp("trained"), *SMALL)


@pytest.fixture(scope="session")
def trained_longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a context that has room for a prompt and an answer."""
    return train_small(
        tmp_path_factory.mktemp("longer"), *(option.replace("length=16", "length=48") for option in SMALL)
    )


def train_small(folder: Path, *options: str) -> Path:
    """Train a run called `small` in a folder, by the command itself; return the folder."""
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    before = {name: os.environ.get(name) for name in ("GLASSGPT_RUNS", "GLASSGPT_CACHE")}
    os.environ |= {"GLASSGPT_RUNS": str(folder / "runs"), "GLASSGPT_CACHE": str(folder / "cache")}
    try:
        with pytest.raises(SystemExit) as exit_:
            main(["train", str(folder / "text.txt"), *options, "--name", "small"])
        assert not exit_.value.code
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    return folder


@pytest.fixture
def workplace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate working folder, with a copy of the trained run in `runs/small`."""
    shutil.copy(trained / "text.txt", tmp_path / "text.txt")
    return work_in(tmp_path, trained, monkeypatch)


@pytest.fixture
def longer_workplace(trained_longer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with a run that has room for a prompt and an answer, and without its text."""
    return work_in(tmp_path, trained_longer, monkeypatch)


def work_in(folder: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the runs of a folder into another, and work there; return it."""
    shutil.copytree(trained / "runs", folder / "runs")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GLASSGPT_RUNS", "runs")
    monkeypatch.setenv("GLASSGPT_CACHE", str(trained / "cache"))
    return folder
