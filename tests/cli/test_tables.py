"""Every table, on terminals of all kinds: no number is cut, no text is lost, and there is no unwanted escape code."""

from __future__ import annotations

import dataclasses
import functools
import io
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from glassgpt.cli import doctor, plan, session
from glassgpt.cli.main import main
from glassgpt.cli.terminal import make_console
from glassgpt.doctor.check import Step
from glassgpt.doctor.measure import Measured, Writing
from glassgpt.doctor.report import Diagnosis
from glassgpt.doctor.surroundings import Extra, Space
from glassgpt.machine.facts import machine_facts
from glassgpt.model.config import ModelConfig
from glassgpt.planning.plan import Candidate, Plan, make_plan
from glassgpt.runs.config import CorpusConfig, RunConfig

NUMBER = re.compile(r"\d[\d,.]*\d|\d")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COMPARISON = {
    "numbers": {
        "held-out loss": [12_345.678, 3.25],
        "a metric with a rather long name": [1_234_567.5, 0.125],
    },
    "samples": [{"prompt": "Where is the spade?", "before": "The the the. " * 9, "after": "In the shed."}],
}


class Stream(io.TextIOWrapper):
    """Standard output of an encoding, as a terminal or as a pipe."""

    def __init__(self, encoding: str, *, terminal: bool) -> None:
        self.kept, self._terminal = io.BytesIO(), terminal
        super().__init__(self.kept, encoding, write_through=True)

    def isatty(self) -> bool:
        return self._terminal


def run(*arguments: str) -> Callable[[], None]:
    def call() -> None:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert not exit_.value.code

    return call


@functools.cache
def a_plan() -> Plan:
    """A plan, made once because what it measures differs each time."""
    shapes = [
        Candidate(ModelConfig(vocab_size=512, n_layer=12, n_embd=1024, n_head=16), speed, excess)
        for speed, excess in ((1_234_567.0, 0.123), (12.0, float("inf")))
    ]
    made = make_plan(RunConfig(corpus=CorpusConfig(sources=("text.txt",))), 6.0)
    return dataclasses.replace(made, considered=tuple(shapes))


def show_plan() -> None:
    plan.show(a_plan(), make_console())


def show_diagnosis() -> None:
    space = Space(free_memory=12_300_000_000, memory=16_000_000_000, free_disk=1_230_000, disk=10**12)
    steps = [Step("resume to the same bits", 12.5), Step("export", 0.5, trouble="It broke at 12,345 places.")]
    extras = [Extra("hf", {"transformers": "5.12.34"}, ()), Extra("data", {}, ("pyarrow", "datasketch"))]
    writing = Writing("a-run-with-a-long-name-of-its-own-1", "loops", 1, 16, 12345.6, 1234567.8, "as-saved")
    found = Diagnosis(
        facts=machine_facts(), space=space, versions={"torch": "2.13.0", "numpy": "2.4.6"}, extras=extras,
        hubs={"Hugging Face": False}, caches=[], kept={}, steps=steps,
        measured=Measured("cpu", 0.0, (), {"1": 12.5, "16": 1234.5}, (), (writing,), ()),
    )  # fmt: skip
    doctor._show(make_console(), found)


TABLES: dict[str, Callable[[], None]] = {
    "plan": show_plan,
    "data inspect": run("data", "inspect", "text.txt"),
    "model": run("model", "gpt2-xl", "--batch-size", "512"),
    "a small model": run("model", "nano"),
    "fine-tuning": lambda: session._show_comparison(make_console(), COMPARISON),  # pyright: ignore
    "doctor": show_diagnosis,
    "runs": run("runs"),
    "runs compare": run("runs", "compare", "small", "small", "--force"),
    "eval": run("eval", "small", "--tasks", "induction"),
}
NOT_COLOURED = {"TERM": "xterm-256color", "NO_COLOR": "1"}


def printed(
    monkeypatch: pytest.MonkeyPatch, table: str, *, encoding: str = "utf-8", terminal: bool = True, **env: str
) -> str:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **env}.items():
        monkeypatch.setenv(name, value)
    stream = Stream(encoding, terminal=terminal)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        TABLES[table]()
    return stream.kept.getvalue().decode(encoding)


def numbers(text: str) -> Counter[str]:
    return Counter(NUMBER.findall(ESCAPE.sub("", text)))


def letters(text: str) -> Counter[str]:
    """How often each letter and digit occurs, which does not depend on how a table is folded."""
    return Counter(character for character in ESCAPE.sub("", text) if character.isalnum())


@pytest.fixture(autouse=True)
def small_place(workplace: Path) -> None:
    """Every table is of the small run, whose text has an ordinary name."""


@pytest.mark.parametrize("table", TABLES)
def test_no_number_is_cut_and_no_text_lost(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    """In 40 columns `model` once showed "tok…" and lost its last column, which says what the memory is for."""
    whole = printed(monkeypatch, table, terminal=False)
    assert numbers(whole)
    for columns in ("20", "40", "80", "200"):
        narrow = printed(monkeypatch, table, terminal=False, COLUMNS=columns)
        if "Not shown in this width:" in " ".join(narrow.split()):  # whole columns are left out, and named
            assert table.startswith("runs")
            assert numbers(narrow) < numbers(whole), columns
            continue
        assert numbers(narrow) == numbers(whole), columns
        assert letters(narrow) == letters(whole), columns
        assert "…" not in narrow


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("terminal", "environment"),
    [
        (True, NOT_COLOURED),
        (True, {"TERM": "dumb"}),
        (False, {}),
        (False, {**NOT_COLOURED, "FORCE_COLOR": "1"}),
    ],
    ids=["no colour", "dumb", "pipe", "pipe, no colour though forced"],
)
def test_no_escape_code_is_where_none_is_wanted(
    monkeypatch: pytest.MonkeyPatch, table: str, terminal: bool, environment: dict[str, str]
) -> None:
    """With NO_COLOR, bold and dim were once still written."""
    text = printed(monkeypatch, table, terminal=terminal, **environment)
    codes = set(ESCAPE.findall(text))
    assert not {code for code in codes if code.endswith("m")}, codes
    if not terminal or environment.get("TERM") == "dumb":
        assert not codes
        assert numbers(text) == numbers(printed(monkeypatch, table, terminal=False))


@pytest.mark.parametrize("table", TABLES)
def test_colours_that_are_forced_into_a_pipe_bring_no_animation(
    monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """With FORCE_COLOR, a file once received the codes that hide the cursor and erase lines."""
    text = printed(monkeypatch, table, terminal=False, FORCE_COLOR="1")
    assert ESCAPE.findall(text)
    assert {code[-1] for code in ESCAPE.findall(text)} == {"m"}
    assert "\r" not in text
    assert numbers(text) == numbers(printed(monkeypatch, table, terminal=False))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_boxes_are_drawn_with_what_the_encoding_has(
    monkeypatch: pytest.MonkeyPatch, table: str, encoding: str
) -> None:
    whole = printed(monkeypatch, table, TERM="dumb", COLUMNS="400", terminal=False)
    text = printed(monkeypatch, table, encoding=encoding, TERM="dumb", COLUMNS="400", terminal=False)
    assert text.isascii() or encoding == "latin-1"
    lost = whole.count("±") if encoding == "ascii" else 0  # the heading of an error
    assert text.count("?") == whole.count("?") + lost
    assert numbers(text) == numbers(whole)
