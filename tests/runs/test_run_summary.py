"""A run in one line, at any point of its progress."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from glassgpt import config as configs
from glassgpt import files
from glassgpt.runs import records
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.records import MetricsFile
from glassgpt.runs.summary import RunSummary, duration, summarize
from glassgpt.training.events import (
    Evaluated,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
    event_to_dict,
)


def made(path: Path) -> RunDirectory:
    """A run that has only a config."""
    run = RunDirectory(path)
    run.path.mkdir()
    run.config.write_text(configs.to_toml(RunConfig()))
    return run


def told(summary: RunSummary) -> tuple:
    return (summary.name, summary.parameters, summary.step, summary.steps, summary.best_loss,
            summary.bits_per_byte, summary.seconds, summary.state)  # fmt: skip


def test_a_run_that_has_just_been_made(tmp_path):
    summary = summarize(made(tmp_path / "new"))
    assert told(summary) == ("new", None, 0, None, None, None, 0.0, "unfinished")
    assert summary.settings["training.seed"] == 1337


def test_a_run_in_the_middle_and_at_its_end(tmp_path):
    run = made(tmp_path / "tales")
    metrics = MetricsFile(run.metrics)
    metrics(TrainingStarted(0, 400, 1_234_567, 128, 3.5, "cpu", "float32"))
    assert told(summarize(run)) == ("tales", 1_234_567, 0, 400, None, None, 0.0, "unfinished")
    metrics(Evaluated(100, 2.0, 7.389, 1.5, True, 12_800, 50.0))
    metrics(StepsFinished(200, 1.0, 0.1, 0.1, 25_600, 100.0, 99.6))
    metrics(Evaluated(200, 2.5, 12.18, 1.75, False, 25_600, 100.4))
    metrics(Sampled(200, ("text",)))
    assert told(summarize(run)) == ("tales", 1_234_567, 200, 400, 2.0, 1.5, 100.4, "unfinished")
    metrics(TrainingFinished(200, "no improvement", 2.0, 100, 101.0))
    assert summarize(run).state == "no improvement"


def test_a_long_run_is_read_once_and_never_whole(tmp_path, monkeypatch):
    """The list of runs once read each file of metrics twice, and kept a million events and lines in memory."""
    run, peaks, read = made(tmp_path / "long"), [], Counter()
    read_event = records.event_of
    monkeypatch.setattr(records, "event_of", lambda values: read.update(["line"]) or read_event(values))
    line = json.dumps(event_to_dict(StepsFinished(7, 1.0, 0.1, 0.1, 25_600, 100.0, 99.6)))
    for count in (10, 300, 6_000):
        run.metrics.write_text(f"{line}\n" * count)
        read.clear()
        tracemalloc.start()
        assert summarize(run).step == 7
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert read == {"line": count}
    assert peaks[2] < 2 * peaks[1], peaks


def test_a_resumed_run_is_unfinished_again_until_it_ends(tmp_path):
    run = made(tmp_path / "tales")
    metrics = MetricsFile(run.metrics)
    metrics(TrainingStarted(0, 10, 5, 128, 3.5, "cpu", "float32"))
    metrics(TrainingFinished(4, "interrupted", 2.0, 4, 3.0))
    assert summarize(run).state == "interrupted"
    metrics.rewind(4)
    metrics(TrainingStarted(4, 10, 5, 128, 3.5, "cpu", "float32"))
    assert summarize(run).state == "unfinished"


def test_a_real_run(run):
    summary, lineage = summarize(run), files.read_json(run.lineage)
    assert (summary.name, summary.step, summary.steps, summary.state) == ("first", 12, 12, "finished")
    assert summary.parameters == lineage["model"]["parameters"]
    assert summary.best_loss == lineage["weights"]["loss"]
    assert summary.tokens == 12 * 4 * 32


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.7, "60 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (3569, "59 min"),
        (3571, "1 h 0 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_times_are_said_as_people_say_them(seconds, said):
    assert duration(seconds) == said
