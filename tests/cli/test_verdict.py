"""After a training one reads in words what came of it, and before a fine-tuning that its base is too weak."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from glassgpt.cli.verdict import say_finetuned
from glassgpt.corpus.builtin import lantern_text
from tests.cli.conftest import SMALL, TEXT, Command

WIDE = tuple(option.replace("context-length=16", "context-length=64") for option in SMALL)


def test_a_training_says_what_came_and_a_fine_tuning_that_its_base_is_weak(
    glassgpt: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes on a small text gave word salad, then a fine-tuning of it; neither said a word about it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(lantern_text())
    printed = " ".join(glassgpt("train", "text.txt", "--name", "small", *WIDE).output.split())
    assert "bits a byte, expect of English text noise" in printed
    assert "It was still improving. Twice the steps would help:" in printed
    assert "--training.steps 12" in printed
    (tmp_path / "ask.jsonl").write_text(
        '{"instruction": "Who sat?", "output": "The cat."}\n{"instruction": "Where?", "output": "A mat."}\n'
        * 10
    )
    tuned = glassgpt("finetune", "sft", "small", "ask.jsonl", "--training.epochs=1", "--training.threads=1")
    said = " ".join((tuned.output + tuned.errors).split())
    assert "This base writes at" in said, said
    assert "A better base comes first: glassgpt train" in said
    assert "on held-out examples" in said or "held-out examples:" in said


def test_a_text_that_repeats_itself_gets_no_praise(
    glassgpt: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """96 kB of three sentences came out as "whole passages that hold together"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT * 3)
    ran = glassgpt("train", "text.txt", "--name", "again", "--cleaning.mode=off", *WIDE)
    said = " ".join((ran.output + ran.errors).split())
    assert said.count("This text repeats itself") == 2, said  # before the training, and in its verdict
    assert "expect of English text" not in said
    assert "The model needs" in said
    planned = " ".join(glassgpt("plan", "text.txt", "--minutes", "0.2").output.split())
    assert planned.count("This text repeats itself") == 1, planned
    assert "Expect about" not in planned


def verdict_on(*ended: bool | None, **older: str) -> str:
    """Return what is said after a fine-tuning whose sample answers ended or not."""
    samples = [{"prompt": "", "before": "", "after": "", "ended": each} for each in ended]
    comparison: Any = {"numbers": {}, "samples": [*samples, *([older] if older else [])]}
    written = io.StringIO()
    say_finetuned(Console(file=written, width=1000), comparison)
    return written.getvalue()


def test_answers_that_do_not_end_are_said() -> None:
    said = verdict_on(True, False, False)
    assert said.startswith(
        "2 of 3 sample answers were cut at the limit of tokens before they ended: more passes"
    )
    assert not verdict_on(True, False)
    assert not verdict_on()
    assert not verdict_on(None, None)
    assert not verdict_on(prompt="", before="", after="")  # of a version that did not note it


def test_a_fine_tuning_notes_which_answers_ended(glassgpt: Command, longer_workplace: Path) -> None:
    Path("ask.json").write_text(json.dumps([{"prompt": f"{n}?", "completion": "b"} for n in range(40)]))
    options = ("--training.threads=1", "--training.precision=float32", "--samples.max-tokens=6")
    tuned = glassgpt(
        "finetune", "sft", "small", "ask.json", "--training.steps=1", *options, "--name", "endless"
    )
    assert "4 of 4 sample answers were cut" in " ".join(tuned.output.split())
    many = ("--training.epochs=60", "--training.learning-rate=0.02")
    tuned = glassgpt("finetune", "sft", "small", "ask.json", *many, *options, "--name", "ends")
    assert "sample answers were cut" not in " ".join(tuned.output.split()), tuned.output
    samples = json.loads(Path("runs/ends/comparison.json").read_text())["samples"]
    assert [sample["ended"] for sample in samples] == [True] * 4
