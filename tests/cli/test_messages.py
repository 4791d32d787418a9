"""Messages in a narrow window: words stay whole, and a command can still be pasted."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from glassgpt.cli.terminal import folded, say

COMMAND = "glassgpt train 'my long texts and letters/*.txt' --minutes 5 --name=first"
MESSAGE = f"The text has changed since the run began. Put the original back, or start a new run:  {COMMAND}"


@pytest.mark.parametrize("width", [20, 40, 60, 100, 200])
def test_words_stay_whole_and_the_command_stays_one_line(width: int) -> None:
    lines = folded(MESSAGE, width).split("\n")
    assert " ".join(" ".join(lines).split()) == " ".join(MESSAGE.split())
    assert sum(COMMAND in line for line in lines) == 1
    assert all(cell_len(line.rstrip()) <= width for line in lines if COMMAND not in line)


def test_a_line_is_filled_before_the_next_one_begins() -> None:
    assert folded("one two three four", 9) == "one two\nthree\nfour"
    assert folded("猫猫 猫猫 猫", 7) == "猫猫\n猫猫 猫"
    assert folded("  indented words here", 12) == "  indented\n  words here"
    assert folded("first\n\nsecond", 40) == "first\n\nsecond"


def test_a_command_in_backticks_is_not_broken() -> None:
    text = "It is held by `glassgpt resume tale`, process 5, since noon."
    lines = folded(text, 24).split("\n")
    assert "`glassgpt resume tale`," in [line.strip() for line in lines]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], include_characters=" "), max_size=200))
def test_nothing_is_lost(text: str) -> None:
    for width in (1, 7, 40):
        assert folded(text, width).split() == text.split()


def test_without_a_window_nothing_is_broken_and_commands_are_bold_in_one() -> None:
    plain, window = io.StringIO(), io.StringIO()
    say(Console(file=plain, width=100_000), f"[red]a\x1b[2J\nResume with:  {COMMAND}")
    assert plain.getvalue() == f"[red]a\\x1b[2J\nResume with:  {COMMAND}\n"
    say(Console(file=window, width=30, force_terminal=True, color_system="standard"), f"Now:  {COMMAND}")
    assert f"\x1b[1m{COMMAND}\x1b[0m" in window.getvalue()
