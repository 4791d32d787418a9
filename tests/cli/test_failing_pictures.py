"""Pictures and pages that cannot be written: the training says it once each, ends well and keeps its weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from glassgpt.pretraining.run import start_run
from glassgpt.runs.config import CorpusConfig, PromptsConfig, RunConfig
from glassgpt.runs.directory import RunDirectory, runs_folder
from glassgpt.training.events import Event, TrainingStarted
from tests.runs.conftest import CONFIG

SHOWN = ("samples.md", "loss.png", "report.html")


def obstruct(run: RunDirectory) -> None:
    """Put a folder in the place of each file that only shows the training."""
    for name in SHOWN:
        (run.path / name).unlink(missing_ok=True)
        (run.path / name / "in the way").mkdir(parents=True)


def test_a_training_that_cannot_write_its_pictures_ends_well(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(
        corpus=CorpusConfig(sources=("text.txt",)), tokenizer=CONFIG.tokenizer, model=CONFIG.model,
        training=CONFIG.training, samples=PromptsConfig(max_tokens=4),
    )  # fmt: skip
    said: list[str] = []

    def listener(event: Event) -> None:
        if isinstance(event, TrainingStarted):
            obstruct(RunDirectory(runs_folder() / "new"))

    outcome = start_run(config, name="new", say=said.append, listeners=[listener])
    assert outcome.finished.step == CONFIG.training.steps
    assert outcome.directory.weights.is_file()
    for name in SHOWN:
        (line,) = [line for line in said if line.startswith(name)]
        assert "the training" in line
        assert "there is a folder" in line or "a file is needed" in line, line


def test_the_command_says_it_and_a_resume_writes_what_was_missing(workplace: Path, glassgpt: Any) -> None:
    run = RunDirectory(Path("runs/small"))
    obstruct(run)
    result = glassgpt("resume", "small")
    assert result.status == 0, result
    assert "Traceback" not in result.output + result.errors
    for name in SHOWN:
        assert len(re.findall(f"^{name} .* the training ", result.output, re.MULTILINE)) == 1, result.output
    for name in SHOWN:
        (run.path / name / "in the way").rmdir()
        (run.path / name).rmdir()
    assert glassgpt("resume", "small").status == 0
    assert all((run.path / name).is_file() for name in SHOWN)
