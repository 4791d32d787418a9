"""`metrics.jsonl` stays consistent whatever a crash or a model has put into it; `samples.md` shows it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.errors import GlassGPTError
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.records import MetricsFile, SamplesFile, read_events, samples_page
from glassgpt.training.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
)

EVENTS: list[Event] = [
    TrainingStarted(0, 20, 1000, 128, 3.5, "cpu", "float32"),
    Evaluated(0, 5.5, 244.7, 7.9, True, 0, 0.01),
    Sampled(0, ("a\nb", "ü “q” \\ \t")),
    StepsFinished(10, 4.25, 0.001, 0.5, 1280, 900.5, 1.5),
    Evaluated(10, 4.0, math.exp(4), 6.0, True, 1280, 1.6),
    Sampled(10, ("x", "y")),
    CheckpointSaved(10, True),
    StepsFinished(20, 3.25, 0.0001, 0.25, 2560, 950.0, 3.0),
    TrainingFinished(20, "finished", 4.0, 10, 3.125),
]


def written(path: Path, events: list[Event]) -> MetricsFile:
    metrics = MetricsFile(path)
    for event in events:
        metrics(event)
    return metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_events_come_back_equal(path):
    written(path, EVENTS)
    assert read_events(path) == EVENTS
    assert path.read_text(encoding="utf-8").count("\n") == len(EVENTS)


def test_there_may_be_no_file(path):
    assert read_events(path) == []
    MetricsFile(path).rewind(5)
    assert read_events(path) == []


@given(text=st.text())
def test_whatever_a_model_writes_comes_back(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    events: list[Event] = [Sampled(1, (text, "b")), CheckpointSaved(1, False)]
    written(path, events)
    assert read_events(path) == events


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\r", "\r\n"])
def test_other_line_ends_in_a_sample_do_not_lose_it(path, end):
    """An untrained byte-level model sometimes writes U+0085; its samples once vanished from the report."""
    event = Sampled(3, (f"one{end}two",))
    written(path, [event])
    assert read_events(path) == [event]


def test_numbers_that_are_not_finite_come_back(path):
    written(path, [Evaluated(0, 800.0, math.inf, 9.0, True, 0, 0.0)])
    (event,) = read_events(path)
    assert isinstance(event, Evaluated)
    assert event.perplexity == math.inf


def test_rewind_takes_back_what_came_after_and_how_it_ended(path):
    written(path, EVENTS).rewind(10)
    assert read_events(path) == EVENTS[:7]
    MetricsFile(path).rewind(10)
    assert read_events(path) == EVENTS[:7]
    MetricsFile(path).rewind(-1)
    assert path.read_bytes() == b""


def test_rewind_at_the_last_step_forgets_only_the_end(path):
    written(path, EVENTS).rewind(20)
    assert read_events(path) == EVENTS[:-1]


def test_a_line_torn_anywhere_is_passed_over_and_then_removed(path):
    """Also in the middle of a character: that once made the run impossible to resume."""
    whole = [TrainingStarted(0, 20, 1000, 128, 3.5, "cpu", "float32"), Sampled(0, ("ü🙂",))]
    written(path, whole)
    first = path.read_bytes().index(b"\n") + 1
    content = path.read_bytes()
    for length in range(first, len(content) - 1):
        path.write_bytes(content[:length])
        assert read_events(path) == whole[:1]
        metrics = MetricsFile(path)
        metrics.rewind(0)
        metrics(whole[1])
        assert path.read_bytes() == content
    path.write_bytes(content[:-1])  # all but the line end: the event is whole
    assert read_events(path) == whole


def test_events_of_another_version_are_passed_over(path):
    written(path, EVENTS[:2])
    with open(path, "a") as file:
        file.write(
            '{"event": "unheard of", "step": 1}\n[1, 2]\n"text"\n\n{"event": "checkpoint", "step": 1, "best": true, '
            '"more": 2}\n'
        )
    written(path, EVENTS[2:])
    assert read_events(path) == [*EVENTS[:2], CheckpointSaved(1, True), *EVENTS[2:]]


def test_the_samples_page(tmp_path):
    assert samples_page("tales", ("", "Once"), [
        Evaluated(0, 5.5, 1.0, 1.0, True, 0, 0.0),
        Sampled(0, (" zzz", " upon\na time\n\n  there was\n")),
        Sampled(5, ("only one",)),
    ]) == (
        "# What `tales` wrote during training\n\n"
        "## Step 0, validation loss 5.500\n\n"
        "```text\nzzz\n```\n\n"
        "After `Once`:\n\n"
        "```text\nOnce upon\na time\n\n  there was\n```\n\n"
        "## Step 5\n\n"
        "```text\nonly one\n```\n"
    )  # fmt: skip


def test_the_samples_page_is_kept_up_to_date_as_training_goes_on(tmp_path):
    run = RunDirectory(tmp_path / "tales")
    run.path.mkdir()
    metrics, samples = MetricsFile(run.metrics), SamplesFile(run, ("", "Once"))
    pages = []
    for event in EVENTS:
        metrics(event)
        samples(event)
        pages.append(run.samples.read_text(encoding="utf-8") if run.samples.is_file() else "")
    assert pages[1] == ""
    assert pages[2].count("## Step") == 1
    assert pages[-1] == samples_page("tales", ("", "Once"), EVENTS)
    assert pages[-1].count("## Step") == 2


def test_a_sample_is_added_without_reading_all_events_again(tmp_path):
    """At each sample the page was made from all events: in a long run, ever longer."""
    run = RunDirectory(tmp_path / "tales")
    run.path.mkdir()
    metrics, samples = MetricsFile(run.metrics), SamplesFile(run, ("", "Once"))
    more = [Evaluated(20, 2.5, 1.0, 1.0, True, 0, 0.0), Sampled(20, ("more", " again"))]
    for event in EVENTS:
        metrics(event)
        samples(event)
    kept = run.metrics.read_bytes()
    run.metrics.unlink()
    for event in more:
        samples(event)
    assert run.samples.read_text(encoding="utf-8") == samples_page("tales", ("", "Once"), [*EVENTS, *more])
    run.metrics.write_bytes(kept)
    samples(TrainingFinished(20, "finished", 1.0, 20, 1.0))
    assert run.samples.read_text(encoding="utf-8") == samples_page("tales", ("", "Once"), EVENTS)


def test_a_page_of_samples_is_whole_again_after_a_failure(tmp_path):
    run = RunDirectory(tmp_path / "tales")
    run.path.mkdir()
    metrics, samples = MetricsFile(run.metrics), SamplesFile(run, ("",))
    events = [Sampled(step, (f"text {step}",)) for step in range(4)]
    for step, event in enumerate(events):
        metrics(event)
        if step == 1:
            run.samples.unlink()
            run.samples.mkdir()
            with pytest.raises(GlassGPTError):
                samples(event)
            run.samples.rmdir()
        else:
            samples(event)
    assert run.samples.read_text(encoding="utf-8") == samples_page("tales", ("",), events)


def test_a_real_run_shows_each_sample(run):
    page = run.samples.read_text(encoding="utf-8")
    for step in (0, 4, 8, 12):
        assert f"## Step {step}, validation loss " in page
    assert page.count("After `Once`:") == 4
