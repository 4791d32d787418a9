"""A message advises only options that the command has, with values that a shell accepts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FEW = ("--training.steps=2", "--training.threads=1", "--training.precision=float32", "--samples.max-tokens=4")


@pytest.mark.parametrize("field", ["output", "the writer's text", "$HOME", "-x"])
@pytest.mark.parametrize(
    "command",
    [
        ("data", "inspect", "FILE"),
        ("tokenizer", "train", "FILE", "--output", "t.json", "--vocab-size", "300"),
        ("tokenizer", "compare", "runs/small", "--text", "FILE"),
        ("eval", "small", "FILE"),
    ],
    ids=" ".join,
)
def test_what_is_advised_works(
    command: tuple[str, ...], field: str, glassgpt: Callable[..., Any], workplace: Path
) -> None:
    """`plan`, `eval`, `tokenizer` and `distill` once advised an option that only `train` had, unquoted."""
    advised_works(command, field, glassgpt)


@pytest.mark.parametrize(
    "command",
    [
        ("train", "FILE", *FEW, "--model.context-length=16", "--model.n-layer=1", "--model.n-embd=16",
         "--model.n-head=2", "--tokenizer.vocab-size=280"),
        ("finetune", "distill", "small", "FILE", *FEW, "--width", "8", "--layers", "1"),
        ("plan", "FILE", "--minutes", "0.1"),
    ],
    ids=lambda command: " ".join(command[:2]),
)  # fmt: skip
def test_what_is_advised_works_where_models_are_made(
    command: tuple[str, ...], glassgpt: Callable[..., Any], workplace: Path
) -> None:
    advised_works(command, "the writer's text", glassgpt)


def advised_works(command: tuple[str, ...], field: str, glassgpt: Callable[..., Any]) -> None:
    rows = [
        {"id": n, field: f"The cat number {n} sat on the mat, and the dog on the log."} for n in range(200)
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["rows.jsonl" if word == "FILE" else word for word in command]
    refused = glassgpt(*arguments)
    assert refused.status == 1
    _, _, advice = refused.errors.partition("for example with ")
    done = glassgpt(*arguments, *shlex.split(advice.strip()))
    assert done.status == 0, done
