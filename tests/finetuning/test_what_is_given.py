"""Settings given to a fine-tuning are kept, whatever else is fitted, decided or stored."""

from __future__ import annotations

import shutil
from pathlib import Path

from glassgpt.finetuning.choice import Choice
from glassgpt.finetuning.config import SFTConfig, ShortTraining
from glassgpt.finetuning.run import _in_seconds, resume_finetuning, start_finetuning
from glassgpt.finetuning.start import fitted
from glassgpt.jobs.work import REPORT_SECONDS
from tests.finetuning.test_kinds import KINDS


def test_a_lowest_rate_that_was_given_stays() -> None:
    """`--training.min-learning-rate 1e-5` once became 0 when the peak rate was fitted to the base."""
    config = SFTConfig(training=ShortTraining(min_learning_rate=1e-5))
    training = fitted(config, 64, ["training.min_learning_rate"]).training
    assert (training.learning_rate, training.min_learning_rate) == (1e-3, 1e-5)
    assert fitted(config, 64, []).training.min_learning_rate == 0


def test_fewer_seconds_than_the_minutes_count() -> None:
    """`--minutes` once overrode `--training.seconds`, even when that was shorter."""
    choice = Choice("base", (), SFTConfig(training=ShortTraining(seconds=3.0)))
    assert _in_seconds(choice, 50.0).config.training.seconds == 3.0
    assert _in_seconds(choice, 2.0 + REPORT_SECONDS).config.training.seconds == 2.0


def test_a_run_that_was_killed_before_it_was_described_takes_the_data_that_is_named(here: Path) -> None:
    """`--corpus.sources` was once ignored for such a run: the records were reported missing at their old place."""
    config, data = KINDS["classify"]
    run = start_finetuning("base", data, config, name="moods").directory
    for path in run.path.iterdir():
        if path not in (run.config, run.finetune):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.move(here / "moods.jsonl", here / "renamed.jsonl")
    assert resume_finetuning("moods", sources=["renamed.jsonl"]).finished.step == 6
    assert "renamed.jsonl" in run.finetune.read_text()
