"""A compressor tells a text that repeats itself from prose."""

from __future__ import annotations

import random

import pytest

from glassgpt.corpus.builtin import lantern_text
from glassgpt.corpus.repeats import LEAST, compressed_bits, repeats_lines

SENTENCES = (
    "The cat sat on the mat. ",
    "A dog came by and barked at the moon. ",
    "Everyone went home to sleep. ",
)


def shuffled(count: int) -> bytes:
    choose = random.Random(0)
    return "".join(choose.choice(SENTENCES) for _ in range(count)).encode()


def test_three_sentences_in_any_order_repeat_and_a_story_does_not() -> None:
    story = lantern_text().encode()
    told = compressed_bits(story[:-LEAST], story[-LEAST:])
    assert told is not None
    assert told > 1.7
    assert repeats_lines(told) == ()
    again = compressed_bits(shuffled(3000), shuffled(100))
    assert again is not None
    assert again < 0.3
    assert "0.0" in repeats_lines(0.01)[0]
    assert "repeats itself" in repeats_lines(again)[0]


def test_what_was_read_before_counts() -> None:
    """The same held-out text is new after another text, and a repetition after itself."""
    noise = random.Random(1).randbytes(5000)
    other = compressed_bits(random.Random(2).randbytes(5000), noise)
    same = compressed_bits(noise, noise)
    assert other == pytest.approx(8, abs=0.1)
    assert same == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("held_out", [b"", b"a" * (LEAST - 1)])
def test_too_little_text_says_nothing(held_out: bytes) -> None:
    assert compressed_bits(b"a" * 10_000, held_out) is None
    assert repeats_lines(None) == ()
