"""No word is broken at the edge of a terminal, whatever pieces it arrives in, and nothing waits to be shown."""

from __future__ import annotations

import itertools

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from glassgpt.cli.flow import Flow

WORDS = [
    "a",
    "the",
    "lamp-keeper's",
    "daughter,",
    "naïve",
    "e\u0301te\u0301",
    "\n",
    "漢字",
    "猫。",
    "「灯」",
    "😀",
    "❤\ufe0f",
]


class Screen:
    """A terminal of a given width: lines of cells, as far as what `Flow` sends needs one."""

    def __init__(self, width: int) -> None:
        self.width, self.lines, self.column = width, [[]], 0

    def feed(self, sent: str) -> None:
        for part in regex.findall(r"\x1b\[K|\X", sent):
            line = self.lines[-1]
            if part == "\x1b[K":
                del line[self.column :]
            elif part == "\b":
                self.column -= 1
            elif part == "\n":
                self.lines.append([])
                self.column = 0
            else:
                cells = cell_len(part)
                if cells == 0 and self.column:
                    line[self.column - 1] += part
                line[self.column : self.column + cells] = [part, *[""] * (cells - 1)][:cells]
                self.column += cells
                assert self.column < self.width, "the last column stays empty"

    def rows(self) -> list[str]:
        return ["".join(line).rstrip() for line in self.lines]


def shown(pieces: list[str], width: int) -> list[str]:
    flow, screen = Flow(), Screen(width)
    for piece in pieces:
        screen.feed(flow.push(piece, width))
    return screen.rows()


def test_a_word_that_reaches_over_the_edge_moves_as_a_whole() -> None:
    assert shown(["The lamp", "-kee", "per", " counted"], 12) == ["The", "lamp-keeper", "counted"]


def test_the_beginning_of_a_word_is_shown_at_once() -> None:
    flow = Flow()
    assert flow.push("The lamp", 12) == "The lamp"
    assert flow.push("-keeper", 12) == "-ke\b\b\b\b\b\b\b\x1b[K\nlamp-keeper"


def test_a_word_longer_than_a_line_fills_it() -> None:
    assert shown(["so ", "a" * 25, " b"], 11) == ["so", "a" * 10, "a" * 10, "aaaaa b"]


def test_scripts_without_spaces_break_anywhere_but_before_a_full_stop() -> None:
    assert shown(["漢字漢字漢。字"], 11) == ["漢字漢字", "漢。字"]
    assert shown(["漢字abc"], 8) == ["漢字abc"]
    assert shown(["漢字abcd"], 8) == ["漢字", "abcd"]


@given(
    words=st.lists(st.sampled_from(WORDS), max_size=30),
    width=st.integers(18, 60),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_no_word_is_broken_and_none_is_lost(words: list[str], width: int, cuts: list[int]) -> None:
    """Every token may end in the middle of a word, or of a character that several code points make up."""
    text = " ".join(words)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    rows = shown([text[a:b] for a, b in itertools.pairwise(places)], width)
    assert "".join(rows).replace(" ", "") == regex.sub(r"\s", "", text)
    whole = [word for row in rows for word in row.split()]
    narrow = [word for word in words if word.strip() and cell_len(word) == len(regex.findall(r"\X", word))]
    for word in narrow:
        assert word in whole
    assert all(cell_len(row) < width for row in rows)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_window_of_hardly_any_width_does_not_hang(width: int) -> None:
    flow = Flow()
    assert flow.push("漢 abc\tdef\n", width)
