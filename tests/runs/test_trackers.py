"""What is written for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from glassgpt.errors import ConfigError, MissingExtraError
from glassgpt.runs.records import read_events
from glassgpt.runs.trackers import check_trackers, make_trackers, scalars
from glassgpt.training.events import (
    CheckpointSaved,
    Evaluated,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
)


def read_back(run) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return {
        tag: [(item.step, item.value) for item in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def started(step: int) -> TrainingStarted:
    return TrainingStarted(step, 40, 1, 1, 1.0, "cpu", "float32")


def steps_finished(step: int, loss: float) -> StepsFinished:
    return StepsFinished(step, loss, 0.1, 0.2, 1, 3.0, 4.0)


def test_tensorboard_holds_every_number(run):
    pytest.importorskip("tensorboard")
    (listener,) = make_trackers(["tensorboard"], run)
    events = read_events(run.metrics)
    for event in events:
        listener(event)
    shown = read_back(run)
    assert shown.keys() == {
        "train/loss", "train/learning_rate", "train/gradient_norm", "train/tokens_per_second",
        "validation/loss", "validation/perplexity", "validation/bits_per_byte",
    }  # fmt: skip
    for tag, kind, attribute in (
        ("train/loss", StepsFinished, "loss"),
        ("train/learning_rate", StepsFinished, "learning_rate"),
        ("validation/bits_per_byte", Evaluated, "bits_per_byte"),
    ):
        told = [(event.step, getattr(event, attribute)) for event in events if isinstance(event, kind)]
        assert [step for step, _ in shown[tag]] == [step for step, _ in told]
        assert [value for _, value in shown[tag]] == pytest.approx([value for _, value in told])


def test_the_samples_are_there_too(run):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (listener,) = make_trackers(["tensorboard"], run)
    listener(started(0))
    listener(Sampled(0, ("Once upon", "a time")))
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"))  # it is on the disk before the end
    events.Reload()
    (item,) = events.Tensors("samples/text_summary")
    assert item.tensor_proto.string_val[0].decode() == (
        "```text\nOnce upon\n```\n\n```text\na time\n```"  # a fence, because it is shown as Markdown
    )


def test_events_are_on_the_disk_without_a_proper_end(run):
    pytest.importorskip("tensorboard")
    (listener,) = make_trackers(["tensorboard"], run)
    for event in (started(0), steps_finished(10, 2.0), Evaluated(10, 2.5, 1.0, 1.0, True, 1, 1.0)):
        listener(event)
    assert read_back(run)["train/loss"] == [(10, 2.0)]


def test_a_resumed_run_shows_each_step_once(run):
    """Killed at step 40, resumed from the checkpoint of step 20: step 30 of both attempts was once drawn."""
    pytest.importorskip("tensorboard")
    (first,) = make_trackers(["tensorboard"], run)
    for event in (
        started(0),
        *(steps_finished(step, 1.0) for step in (10, 20, 30, 40)),
        Evaluated(40, 1, 1, 1, True, 1, 1),
    ):
        first(event)
    first(TrainingFinished(40, "interrupted", 1.0, 40, 1.0))
    (second,) = make_trackers(["tensorboard"], run)
    for event in (started(20), steps_finished(30, 2.0), steps_finished(40, 2.0)):
        second(event)
    second(TrainingFinished(40, "finished", 1.0, 40, 1.0))
    assert read_back(run)["train/loss"] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]


def test_events_without_a_curve_have_no_numbers():
    for event in (
        started(0),
        Sampled(0, ("a",)),
        CheckpointSaved(0, True),
        TrainingFinished(0, "", 1.0, 0, 1.0),
    ):
        assert scalars(event) == {}


def test_an_unknown_tracker_names_its_nearest_neighbour(run):
    for call in (check_trackers, lambda names: make_trackers(names, run)):
        with pytest.raises(ConfigError, match=r"no tracker called 'tensorbord'.* Did you mean tensorboard"):
            call(["tensorbord"])
    assert not (run.path / "tensorboard").exists()


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_wandb_that_is_not_installed_says_what_installs_it(run):
    for call in (check_trackers, lambda names: make_trackers(names, run)):
        with pytest.raises(MissingExtraError, match=r"'wandb' is needed.*pip install 'glassgpt\[track\]'"):
            call(["wandb"])


def test_wandb_offline_goes_on_with_the_same_run(run, monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path))
    for _ in range(2):
        (listener,) = make_trackers(["wandb"], run)
        for event in read_events(run.metrics):
            listener(event)
    written = {Path(file).name for file in (run.path / "wandb").glob("*/run-*.wandb")}
    assert len(written) == 1
