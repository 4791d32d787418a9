"""The report of a training that goes on: written meanwhile, replaced at the end, and without a trace in the weights."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from glassgpt.pretraining.run import resume_run, start_run
from glassgpt.runs import redrawing
from glassgpt.runs.directory import RunDirectory
from glassgpt.training.events import Evaluated, Event
from tests.runs.conftest import CONFIG

UNFINISHED = "This training is not finished"


@pytest.fixture
def always_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw at every evaluation."""
    monkeypatch.setattr(redrawing, "REDRAW_SECONDS", -1.0)
    monkeypatch.setattr(redrawing, "REDRAW_SHARE", float("inf"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLASSGPT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.mark.slow
def test_a_killed_training_has_a_report_that_says_so_until_it_is_resumed(
    folder: Path, always_old: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_run(CONFIG, name="killed", listeners=[listener])
    run = RunDirectory(folder / "killed")
    page = run.report.read_text()
    assert f"<b>{UNFINISHED}</b>: step 8 of 12" in page
    assert "glassgpt resume killed" in page
    resume_run("killed")
    page = run.report.read_text()
    assert UNFINISHED not in page
    assert "glassgpt resume" not in page
    monkeypatch.undo()
    monkeypatch.setenv("GLASSGPT_RUNS", str(folder))
    undisturbed = start_run(CONFIG, name="undisturbed").directory
    assert run.weights.read_bytes() == undisturbed.weights.read_bytes()


@pytest.mark.slow
def test_a_training_that_is_stopped_says_where(folder: Path, always_old: None) -> None:
    """Ctrl-C asks the loop to end after its step; the report is then that of the end."""

    def listener(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step == 4:
            signal.raise_signal(signal.SIGINT)

    stopped = start_run(CONFIG, name="stopped", listeners=[listener])
    page = stopped.directory.report.read_text()
    assert "This training was stopped at step 4 of 12" in page
    assert UNFINISHED not in page
    resume_run("stopped")
    assert "was stopped" not in stopped.directory.report.read_text()


def test_a_report_that_fails_meanwhile_is_named_once(folder: Path, always_old: None) -> None:
    said: list[str] = []

    def listener(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step == 0:
            report = folder / "tales/report.html"
            report.unlink()
            (report / "in the way").mkdir(parents=True)

    config = dataclasses.replace(CONFIG, samples=dataclasses.replace(CONFIG.samples, max_tokens=4))
    outcome = start_run(config, name="tales", say=said.append, listeners=[listener])
    assert outcome.finished.reason == "finished"
    assert [line.split(";")[0] for line in said if line.startswith("report.html")] == [
        "report.html failed at step 4",
        "report.html could not be made",
    ]
