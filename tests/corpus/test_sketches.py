"""Samples are exact while small, close when large, and never grow beyond their limit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.corpus.sketches import DistinctSample, hash_runs, hash_texts, hash_words, shared

words = st.lists(st.sampled_from(["a", "b", "c"]), max_size=30)


def sample_of(texts, limit: int = 1 << 12) -> DistinctSample:
    sample = DistinctSample(limit)
    for begin in range(0, len(texts), 500):
        sample.add(hash_texts(texts[begin : begin + 500]))
    return sample


@given(st.lists(st.text()))
def test_exact_while_small(texts):
    assert sample_of(texts).count == len(set(texts))


def test_close_and_bounded_when_large():
    texts = [f"thing {n % 60_000}" for n in range(90_000)]
    sample = sample_of(texts)
    assert len(sample.hashes) <= sample.limit
    assert sample.count == pytest.approx(60_000, rel=0.06)  # 4 standard errors


def test_shared_shares_exact_and_sampled():
    assert shared(sample_of(["a", "b", "c", "d"]), sample_of(["b", "x"])) == 0.25
    assert shared(sample_of([]), sample_of(["b"])) == 0
    part, whole = [f"{n}" for n in range(9_000)], [f"{n}" for n in range(6_000, 60_000)]
    assert shared(sample_of(part), sample_of(whole)) == pytest.approx(1 / 3, abs=0.08)


@given(words, words, st.integers(1, 5))
def test_runs_are_equal_where_their_words_are(one, other, size):
    def runs(words):
        return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]

    hashes = [hash_runs(hash_words(" ".join(words)), size).tolist() for words in (one, other)]
    assert [len(found) for found in hashes] == [len(runs(one)), len(runs(other))]
    assert len(set(hashes[0]) & set(hashes[1])) == len(set(runs(one)) & set(runs(other)))


def test_case_does_not_count_in_words():
    assert np.array_equal(hash_words("The Lamp\n"), hash_words("the  lamp"))
