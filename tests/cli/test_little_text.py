"""Texts of one character, one word or one line, and empty splits: the message is true."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import TINY, refused


@pytest.mark.parametrize("options", [("--split.validation=0",), ("--split.validation=0", "--split.test=0.1")])
def test_a_training_that_holds_out_nothing_is_refused_before_anything_is_made(
    glassgpt: Any, workplace: Path, options: tuple[str, ...]
) -> None:
    """It once made a run, failed at its first evaluation, and said "Give more text"."""
    result = glassgpt("train", "text.txt", *TINY, *options, "--name", "blind")
    refused(result, "split.validation is 0", "--split.validation 0.02")
    assert "more text" not in result.errors
    assert not Path("runs/blind").exists()


def test_a_run_without_held_out_text_from_an_earlier_version(glassgpt: Any, workplace: Path) -> None:
    """Such a run has no weights, and resuming it must not ask for more text either."""
    folder = Path(shutil.copytree("runs/small", "runs/blind"))
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace("validation = 0.1", "validation = 0.0"))
    for command in ("resume", "eval"):
        refused(glassgpt(command, "blind"), "split.validation is 0")


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_text_that_is_all_held_out_is_not_called_empty(glassgpt: Any, workplace: Path, kind: str) -> None:
    """One character went to validation, and the message said that the text was empty or dropped by cleaning."""
    Path("one.txt").write_text("a")
    result = glassgpt("train", "one.txt", *TINY, f"--tokenizer.kind={kind}")
    refused(result, "one.txt is held out", "split.validation is 0.1", "Give more text")
    refused(glassgpt("plan", "one.txt", "--minutes", "0.1"), "is held out", "Give more text")
    assert "All of it is held out" in glassgpt("data", "inspect", "one.txt").output
    for path in ("empty.txt", "blank.txt"):
        Path(path).write_text("\n \n" * path.startswith("blank"))
        refused(glassgpt("train", path, *TINY), "it is empty, or cleaning dropped all of it")


def test_a_split_that_the_run_does_not_have(glassgpt: Any, workplace: Path) -> None:
    """More text does not help with a test split that was never requested."""
    result = glassgpt("eval", "small", "--split", "test")
    refused(result, "without a test split", "split.test is 0", "train, validation")


@pytest.mark.parametrize("text", ["", "\n\n \n"])
def test_an_empty_text_to_measure_on(glassgpt: Any, workplace: Path, text: str) -> None:
    """The message once called it a text to train on, and advised an option that `eval` does not have."""
    Path("none.txt").write_text(text)
    result = glassgpt("eval", "small", "none.txt")
    refused(result, "no text to measure on in none.txt", "Name another text")
    assert "--cleaning" not in result.errors


@pytest.mark.parametrize("text", ["a", "word", "One line of text here.\n"])
def test_the_smallest_texts_are_measured_and_inspected_or_refused(
    glassgpt: Any, workplace: Path, text: str
) -> None:
    Path("tiny.txt").write_text(text)
    for command in (
        ("train", "tiny.txt", *TINY),
        ("plan", "tiny.txt", "--minutes", "0.1"),
        ("eval", "small", "tiny.txt"),
        ("tokenizer", "train", "tiny.txt", "--output", "tiny.json", "--vocab-size", "300"),
        ("tokenizer", "compare", "runs/small", "--text", "tiny.txt"),
        ("data", "inspect", "tiny.txt"),
        ("finetune", "sft", "small", "tiny.txt"),
    ):
        result = glassgpt(*command)
        assert result.status in (0, 1), (command, result)
        assert result.errors.startswith("Error: ") == (result.status == 1), (command, result.errors)
        assert "Traceback" not in result.errors
