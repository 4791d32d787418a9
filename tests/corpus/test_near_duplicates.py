"""Near-duplicates are found as often as the theory says, and unrelated documents are not."""

from __future__ import annotations

import random

import pytest

from glassgpt.corpus.near_duplicates import SKETCH, NearDuplicates, bands_for, word_runs


def text_and_variant(rng: random.Random, changed: int) -> tuple[str, str]:
    words = [f"w{rng.randrange(10**6)}" for _ in range(300)]
    other = words.copy()
    for place in rng.sample(range(0, 300, 10), changed):  # ten apart: each change spoils five runs
        other[place] = "changed"
    return " ".join(words), " ".join(other)


def jaccard(one: str, other: str) -> float:
    a, b = set(word_runs(one)), set(word_runs(other))
    return len(a & b) / len(a | b)


@pytest.mark.parametrize(("changed", "is_near"), [(1, True), (2, True), (15, False), (30, False)])
def test_similarity_decides(changed, is_near):
    rng = random.Random(changed)
    for _ in range(30):
        one, other = text_and_variant(rng, changed)
        likeness = jaccard(one, other)
        assert likeness > 0.9 if is_near else likeness < 0.65
        near = NearDuplicates(0.8)
        assert not near.seen(one)
        assert near.seen(other) == is_near


def test_case_and_punctuation_do_not_count_and_short_texts_only_match_their_equal():
    near = NearDuplicates(0.8)
    assert not near.seen("The lamp was lit, and nobody came.")
    assert near.seen("the lamp was lit and nobody CAME")
    assert not near.seen("Good night.")
    assert near.seen("good night")
    assert not near.seen("Good day.")
    assert not near.seen("...")
    assert not near.seen("!!!")


def test_word_runs():
    assert word_runs("A b, c d e f!") == ["a b c d e", "b c d e f"]
    assert word_runs("a b") == ["a b"]
    assert word_runs("--") == []


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_divide_the_sketch_and_find_the_threshold(threshold):
    bands = bands_for(threshold)
    assert SKETCH % bands == 0
    assert 1 - (1 - threshold ** (SKETCH // bands)) ** bands >= 0.95
