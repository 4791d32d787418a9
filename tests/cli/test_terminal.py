"""What a noisy model writes must not drive the terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from glassgpt.cli.terminal import printable, shorten


@given(st.text())
def test_no_control_character_but_line_ends_and_tabs_is_left(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    for before, after in zip(text, shown, strict=True):
        if unicodedata.category(before) == "Cc" and before not in "\n\t":
            assert after == "\N{REPLACEMENT CHARACTER}"
        else:
            assert after == before


def test_an_escape_sequence_is_harmless() -> None:
    assert printable("a\x1b[31mb\x07\nc\td") == "a\ufffd[31mb\ufffd\nc\td"


def test_a_long_text_is_cut_visibly() -> None:
    assert shorten("abcdefghij", 8) == "abcde..."
    assert shorten("abcdefgh", 8) == "abcdefgh"
