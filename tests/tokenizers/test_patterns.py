"""Places where every pattern cuts, found without the pattern, tested against the patterns themselves."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.tokenizers.patterns import PATTERNS, WORD, blocks, safe_parts, stretches

# Every kind of character that some pattern treats differently, and separators that are white space only for Python.
PIECES = [
    *("a", "Bc", "é", "e\u0301", "漢", "1", "23", "½", "_", ",", "!?", "/", "'s", "'", "’ll", "“", "😀"),
    *(" ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0"),
    *("\u2003", "\u2028", "\u3000", "\u200b", "\x00"),
]
texts = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(
    st.characters(exclude_categories=["Cs", "Cn"]), max_size=30
)


@pytest.mark.parametrize("name", sorted(PATTERNS))
@given(text=texts)
def test_stretches_are_cut_like_the_whole_text(name: str, text: str) -> None:
    pattern = PATTERNS[name]
    parts = stretches(text, pattern)
    assert "".join(parts) == text
    pieces = [piece for part in parts for piece in regex.findall(pattern.text, part)]
    assert pieces == regex.findall(pattern.text, text)


@pytest.mark.parametrize("name", sorted(PATTERNS))
@given(text=texts, size=st.integers(1, 8))
def test_blocks_are_cut_like_the_whole_text(name: str, text: str, size: int) -> None:
    pattern = PATTERNS[name].text
    parts = list(blocks(text, size))
    assert "".join(parts) == text
    assert [piece for part in parts for piece in regex.findall(pattern, part)] == regex.findall(pattern, text)


@pytest.mark.parametrize("name", [*sorted(PATTERNS), "words"])
@given(text=texts, size=st.integers(1, 8))
def test_a_streamed_text_is_cut_like_the_whole_text(name: str, text: str, size: int) -> None:
    pattern = WORD if name == "words" else PATTERNS[name].text
    parts = list(safe_parts(text[start : start + size] for start in range(0, len(text), size)))
    assert "".join(parts) == text
    assert [piece for part in parts for piece in regex.findall(pattern, part)] == regex.findall(pattern, text)


def test_a_part_is_handed_on_as_soon_as_it_is_safe() -> None:
    came = []
    parts = safe_parts(came.append(some) or some for some in ["one two", " three", "four", " five", "s"])
    assert [(part, len(came)) for part in parts] == [
        ("one", 1),
        (" two", 2),
        (" threefour", 4),
        (" fives", 5),
    ]


def test_a_plain_sentence_is_cut_into_its_words() -> None:
    assert stretches("The gulls\ncount, twice.", PATTERNS["gpt2"]) == ["The", " gulls", "\ncount,", " twice."]
    assert stretches("gulls,\ncount\nships", PATTERNS["llama3"]) == ["gulls,\ncount", "\nships"]
    assert list(blocks("one two three four", 5)) == ["one two", " three", " four"]
