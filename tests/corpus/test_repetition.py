"""The repetition measures against values computed by hand and against plain counting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.corpus.repetition import (
    duplicate_character_share,
    duplicate_share,
    repetitions,
    top_run_share,
)

words = st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=12)


def test_shares_by_hand():
    assert duplicate_share(["a", "b", "a", "a"]) == pytest.approx(0.5)
    assert duplicate_character_share(["aa", "b", "aa", "cccc"]) == pytest.approx(2 / 9)
    assert top_run_share(["the", "cat", "the", "cat", "sat"], 2) == pytest.approx(12 / 15)
    assert top_run_share(["every", "word", "here", "differs"], 2) == 0
    assert duplicate_share([]) == duplicate_character_share([]) == top_run_share([], 2) == 0


@given(words, st.integers(2, 4))
def test_the_top_run_is_the_most_frequent_one(words, size):
    runs = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    most = max(map(runs.count, runs), default=0)
    longest = max((len("".join(run)) for run in runs if runs.count(run) == most), default=0)
    expected = most * longest / len("".join(words)) if most > 1 else 0
    assert top_run_share(words, size) == pytest.approx(expected)


def test_prose_passes_and_each_repetition_is_named():
    prose = "Some evenings nobody lights the lamp at the gate.\n\nThen the boats wait, and their crews sing."
    assert list(repetitions(prose)) == []
    assert "duplicate lines" in list(repetitions("x y\n" * 3 + prose))
    assert "duplicate paragraphs" in list(repetitions("x\ny\n\nx\ny\n\nx\ny\n\nz"))
