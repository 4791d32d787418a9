"""Every number that a command takes, found from the command line itself: impossible values are refused."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from glassgpt.cli.main import make_app
from tests.fixtures.quick import quick

ENDLESS = str(10**30)
# What each command needs beside the option, so that nothing else in the line is wrong.
NEEDED = {
    ("train",): ("text.txt", "--training.steps=1", "--name=new"),
    ("tokenizer", "train"): ("text.txt", "--output=new.json"),
    ("data", "inspect"): ("text.txt",),
    ("import",): ("nothing",),
    ("generate",): ("small", "The"),
    ("plan",): ("text.txt",),
    ("evaluate",): ("small",),
    ("eval",): ("small", "--tasks=induction"),
    ("chat",): ("small",),
    ("explain",): ("small", "The cat", "--what=all"),
    **{
        ("finetune", kind): ("small", "text.txt", "--name=new")
        for kind in ("sft", "dpo", "grpo", "classify", "distill")
    },
}  # fmt: skip


def numbers(app: App, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, type]]:
    """Yield each option that takes a number: the command, the option and the kind of number."""
    for name in app:
        if name.startswith("-"):
            continue
        command = (*above, name)
        yield from numbers(app[name], command)
        if app[name].default_command is None:
            continue
        for argument in app[name].assemble_argument_collection():
            kinds = {argument.hint, *typing.get_args(argument.hint)}
            for kind in (int, float):
                if kind in kinds and argument.name.startswith("--"):
                    yield command, argument.name, kind


OPTIONS = sorted(numbers(make_app()), key=str)
LONG = {("sweep",), ("train",), *(("finetune", kind) for kind in ("sft", "dpo", "grpo", "distill"))}
QUICK = {command for command, _, _ in OPTIONS} - LONG
"""Those with fewer options, and one of those that train."""


def test_the_options_are_found() -> None:
    found = {(command, option) for command, option, _ in OPTIONS}
    assert len(found) > 200
    assert {
        (("generate",), "--count"),
        (("plan",), "--minutes"),
        (("train",), "--model.n-layer"),
        (("finetune", "sft"), "--training.learning-rate"),
    } <= found


@pytest.mark.parametrize(
    "command", quick(sorted({command for command, _, _ in OPTIONS}), *QUICK), ids=" ".join
)
def test_what_is_no_number_to_work_with_is_refused(
    glassgpt: Any, workplace: Path, command: tuple[str, ...]
) -> None:
    for of, option, kind in OPTIONS:
        if of != command:
            continue
        for value in (ENDLESS,) if kind is int else ("nan", "inf", "-inf"):
            result = glassgpt(*command, *NEEDED.get(command, ()), f"{option}={value}")
            said = result.errors
            assert result.status in (1, 2), (option, value, result)
            assert "Traceback" not in said
            assert len(said) < 900, said
    assert [path.name for path in Path("runs").iterdir()] == ["small"]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("generate small The --count 100000000", "--count"),
        ("generate small The --count 0", "--count"),
        ("generate small The --max-tokens 0", "max_tokens"),
        ("generate small The --seed -1", "seed"),
        ("plan text.txt --minutes 1e30", "a year"),
        ("train text.txt --minutes 1e30 --name new", "a year"),
        ("train text.txt --minutes 0 --name new", "--minutes"),
        ("eval small --stories -1", "--stories"),
        ("eval small --stories 1000000000000", "--stories"),
        ("eval small --seed -1", "--seed"),
        ("eval small --limit 0 --tasks induction", "--limit"),
        ("eval small --samples 1000000000000", "--samples"),
    ],
)
def test_a_number_out_of_bounds_is_refused_at_once(
    glassgpt: Any, workplace: Path, line: str, part: str
) -> None:
    result = glassgpt(*line.split())
    assert result.status == 1, result
    assert part in result.errors
    assert [path.name for path in Path("runs").iterdir()] == ["small"]


def test_an_endless_number_in_a_recipe_is_refused(glassgpt: Any, workplace: Path) -> None:
    for value in (ENDLESS, "nan", "inf"):
        Path("mine.toml").write_text(f"[training]\nsteps = {value}\n")
        result = glassgpt("train", "text.txt", "--recipe", "mine.toml", "--name", "new")
        assert result.status in (1, 2)
        assert "Traceback" not in result.errors


def test_the_largest_model_has_a_size_that_can_be_read(glassgpt: Any) -> None:
    """Above an exabyte there was once no letter left, and a StopIteration."""
    largest = str(2**63 - 1)
    result = glassgpt("model", "nano", "--batch-size", largest, "--vocab-size", largest)
    assert result.status == 0, result
