"""`glassgpt evaluate` measures a run on its own text, wherever that is now; the text is recognised by its hash."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

TEXT = "The cat sat on the mat. The dog sat on the log. A bird sang to the cat and the dog.\n\n" * 60


@pytest.fixture
def moved(workplace: Path, glassgpt: Any) -> Path:
    """A folder with a run whose text is elsewhere now, under another name."""
    config = workplace / "runs/small/config.toml"
    elsewhere = 'sources = ["/old/place/story.txt"]'
    config.write_text(re.sub(r"sources = \[.*?\]", elsewhere, config.read_text(), flags=re.DOTALL))
    (workplace / "text.txt").rename(workplace / "now here.txt")
    return workplace


def test_the_new_place_of_the_text_can_be_named(moved: Path, glassgpt: Any) -> None:
    before = (moved / "runs/small/config.toml").read_text()
    refused = glassgpt("evaluate", "small")
    assert refused.status == 1
    assert "give its new place: glassgpt evaluate small --corpus.sources PATH" in refused.errors
    measured = glassgpt("evaluate", "small", "--corpus.sources", "now here.txt")
    assert measured.status == 0, measured.errors
    assert "its validation text" in measured.output
    assert (moved / "runs/small/config.toml").read_text() == before  # reading a run changes nothing
    train = glassgpt("evaluate", "small", "--split", "train", "--corpus.sources", "now here.txt")
    assert "its train text" in train.output


@pytest.mark.parametrize("command", ["evaluate", "resume"])
def test_another_text_is_refused_as_resume_refuses_it(moved: Path, glassgpt: Any, command: str) -> None:
    (moved / "other.txt").write_text(TEXT + "And more.\n")
    refused = glassgpt(command, "small", "--corpus.sources", "other.txt")
    assert refused.status == 1
    assert "other.txt is not the text that small was trained on: its hash differs" in refused.errors
    missing = glassgpt(command, "small", "--corpus.sources", "nowhere.txt")
    assert missing.status == 1
    assert "nowhere.txt" in missing.errors


def test_one_of_two_texts(moved: Path, glassgpt: Any) -> None:
    refused = glassgpt("evaluate", "small", "other.txt", "--corpus.sources", "now here.txt")
    assert refused.status == 1
    assert "Give only one of the two" in refused.errors
