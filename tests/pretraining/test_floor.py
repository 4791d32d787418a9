"""The floor of the built-in stories: the definition, worked out by hand, and when there is none."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from glassgpt.corpus.tinytales.generate import entropy_bits
from glassgpt.pretraining.floor import known_floor


class Tokens(SimpleNamespace):
    """The sizes of a split: stories, tokens, bytes."""

    def __len__(self) -> int:
        return self.tokens


SPLIT = Tokens(documents=10, tokens=2000, text_bytes=6000)


def test_bits_of_the_choices_are_spread_over_tokens_and_bytes() -> None:
    floor = known_floor(("builtin:tinytales:400:1",), SPLIT)
    bits = 10 * entropy_bits()
    assert floor.bits_per_byte == pytest.approx(bits / 6000)
    assert floor.loss == pytest.approx(bits / 2000 * math.log(2))


@pytest.mark.parametrize(
    "sources", [(), ("story.txt",), ("builtin:tinytales", "story.txt"), ("builtin:other",)]
)
def test_other_text_has_no_known_floor(sources: tuple[str, ...]) -> None:
    assert known_floor(sources, SPLIT) is None
