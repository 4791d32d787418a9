"""Names of runs, files and fields may contain anything: no command lets them act on the terminal."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest

HOSTILE = "a\x1b[31m\x07[bold]b\u202ec\u2028d\x9b2J"
ALLOWED = {"\n", "\t"}
SMALL = (
    "--training.steps=2", "--training.threads=1", "--training.precision=float32", "--model.n-layer=1",
    "--model.n-embd=16", "--model.n-head=2", "--model.context-length=16", "--tokenizer.vocab-size=280",
    "--samples.max-tokens=4",
)  # fmt: skip


@pytest.fixture
def hostile(workplace: Path) -> Path:
    """A folder with a run, a text, a table and records whose names try to act on a terminal."""
    shutil.copytree(workplace / "runs/small", workplace / "runs" / HOSTILE)
    text = (workplace / "text.txt").read_text()
    (workplace / f"{HOSTILE}.txt").write_text(text)
    (workplace / f"{HOSTILE}.csv").write_text(f'"{HOSTILE}",other\nthe cat,the dog\n')
    (workplace / f"{HOSTILE}.jsonl").write_text(json.dumps({HOSTILE: "the cat"}) + "\n")
    return workplace


COMMANDS: list[tuple[str, ...]] = [
    ("runs",),
    ("runs", "compare", HOSTILE, "small"),
    ("runs", "compare", HOSTILE, "missing"),
    ("generate", HOSTILE, "The cat", "--max-tokens", "4", "--seed", "1"),
    ("generate", f"{HOSTILE}x", "The cat"),
    ("explain", HOSTILE, HOSTILE, "--what", "tokens,next,attention"),
    ("explain", "small", "The cat", "--what", HOSTILE),
    ("explain", "small", "The cat", "--what", "tokens", "--html", f"{HOSTILE}.html"),
    ("eval", HOSTILE),
    ("eval", "small", f"{HOSTILE}.csv"),
    ("eval", HOSTILE, "--tasks", HOSTILE),
    ("export", f"{HOSTILE}/x"),
    ("resume", HOSTILE),
    ("data", "inspect", f"{HOSTILE}.txt"),
    ("data", "inspect", f"{HOSTILE}.csv"),
    ("data", "inspect", f"{HOSTILE}.jsonl"),
    ("data", "inspect", f"{HOSTILE}.nothing"),
    ("plan", f"{HOSTILE}.txt", "--minutes", "0.1"),
    ("plan", f"{HOSTILE}.jsonl", "--minutes", "0.1"),
    ("train", f"{HOSTILE}.txt", *SMALL),
    ("train", f"{HOSTILE}.csv", *SMALL),
    ("train", "text.txt", "--recipe", HOSTILE),
    ("train", "text.txt", "--name", HOSTILE, *SMALL),
    ("train", "text.txt", "--training.device", HOSTILE),
    ("finetune", "sft", "small", f"{HOSTILE}.jsonl"),
    ("finetune", "classify", HOSTILE, f"{HOSTILE}.csv"),
    ("tokenizer", "encode", "runs/small/tokenizer.json", HOSTILE),
    ("tokenizer", "encode", HOSTILE, "text"),
    ("tokenizer", "train", f"{HOSTILE}.txt", "--output", "made.json", "--vocab-size", "280"),
    ("tokenizer", "compare", "runs/small/tokenizer.json", "--text", f"{HOSTILE}.txt"),
    ("import", HOSTILE),
    ("model", HOSTILE),
    ("classify", HOSTILE, HOSTILE),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_no_command_passes_on_what_acts_on_a_terminal(
    arguments: tuple[str, ...], glassgpt: Any, hostile: Path
) -> None:
    result = glassgpt(*arguments)
    printed = result.output + result.errors
    acting = {char for char in printed if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")} - ALLOWED
    assert not acting, (acting, printed)
    assert "Traceback" not in printed
    assert result.status in (0, 1, 2)
