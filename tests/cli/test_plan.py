"""`glassgpt plan` and `train --minutes`, from the command line to a trained run."""

from __future__ import annotations

from pathlib import Path

import pytest

from glassgpt import config as configs
from glassgpt.runs.config import RunConfig
from glassgpt.runs.opening import open_run
from tests.cli.conftest import refused


def test_a_plan_is_shown_and_written_as_a_recipe(glassgpt, workplace: Path) -> None:
    result = glassgpt("plan", "text.txt", "--minutes", "0.1", "--output", "plan.toml", "--device", "cpu")
    assert result.status == 0
    for part in ("Shapes that were considered", "vocabulary", "updates", "glassgpt train --recipe plan.toml"):
        assert part in result.output
    config = configs.load(RunConfig, workplace / "plan.toml")
    assert (config.training.optimizer, config.training.device) == ("muon", "cpu")
    assert config.training.seconds is not None
    assert config.training.seconds <= 6
    refused(glassgpt("plan", "text.txt", "--device", "tpu"), "tpu", "cpu")


def test_training_in_minutes_plans_finishes_and_keeps_what_was_given(glassgpt, workplace: Path) -> None:
    result = glassgpt(
        "train", "text.txt", "--minutes", "0.1", "--name", "quick",
        "--training.precision", "float32", "--training.seed", "5", "--model.n-layer", "1", "--split.validation", "0.2",
        "--training.momentum", "0.9",
    )  # fmt: skip
    assert result.status == 0
    assert "The plan" in result.output
    config = open_run("runs/quick").config
    assert (config.training.seed, config.model.n_layer, config.split.validation) == (5, 1, 0.2)
    assert (config.training.optimizer, config.training.momentum) == ("muon", 0.9)
    assert config.training.seconds is not None
    assert config.training.seconds < 6


def test_with_a_recipe_the_minutes_only_pace_it(glassgpt, workplace: Path) -> None:
    (workplace / "mine.toml").write_text(
        "[tokenizer]\nvocab_size = 280\n[model]\nn_layer = 1\nn_head = 2\nn_embd = 16\ncontext_length = 16\n"
        '[training]\nthreads = 1\nprecision = "float32"\nsteps = 1000000\nevaluate_every = 500000\n'
    )
    result = glassgpt("train", "text.txt", "--recipe", "mine.toml", "--minutes", "0.06", "--name", "paced")
    assert result.status == 0
    assert "The plan" not in result.output
    config = open_run("runs/paced").config
    assert config.model.n_embd == 16
    assert config.training.optimizer == "adamw"


@pytest.mark.parametrize(
    ("minutes", "said"),
    [("0", "--minutes must be a number above 0"), ("-1", "above 0"), ("0.01", "too few to train anything")],
)
@pytest.mark.parametrize("command", ["plan", "train"])
def test_impossible_times_are_refused(
    glassgpt, workplace: Path, command: str, minutes: str, said: str
) -> None:
    result = glassgpt(command, "text.txt", f"--minutes={minutes}")
    assert result.status == 1
    assert said in result.errors


def test_a_taken_name_is_refused_before_anything_is_measured(glassgpt, workplace: Path) -> None:
    result = glassgpt("train", "text.txt", "--minutes", "1", "--name", "small")
    assert result.status == 1
    assert "small" in result.errors
    assert "Measuring" not in result.output


def test_a_plan_says_what_readers_decided(glassgpt, workplace: Path) -> None:
    """`plan` once did not report how a table was read, unlike `train`; a training reports it only once."""
    rows = [f"the cat number {n} sat on the mat; and the dog on the log" for n in range(300)]
    (workplace / "rows.csv").write_text("\n".join(rows) + "\n")
    inspected = glassgpt("data", "inspect", "rows.csv").output
    notes = [line.strip() for line in inspected.splitlines() if line.strip().startswith("rows.csv")]
    notes = [note for note in notes if note.endswith(".")]
    assert notes
    planned = glassgpt("plan", "rows.csv", "--minutes", "0.06")
    trained = glassgpt("train", "rows.csv", "--minutes", "0.06")
    for note in notes:
        assert planned.output.count(note) == 1
        assert trained.output.count(note) == 1
