"""Endless stories from a seed, and the number of bits in each.

Story number i of a seed depends only on the seed and i, so a hundred stories are the first hundred of a
thousand, on any machine and Python version. The stories may change only together with `VERSION`.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from functools import cache, lru_cache
from hashlib import blake2b

from glassgpt.corpus.tinytales.entropy import entropy_of
from glassgpt.corpus.tinytales.grammar import Context, Grammar, Menu, tell
from glassgpt.corpus.tinytales.sentences import storybook

VERSION = "1"
KEPT = 50_000
"""Number of generated stories kept in memory, 22 MB: a run reads them four times."""


class Draw:
    """A teller that chooses at random by weight, and keeps the choices and the text."""

    def __init__(self, random_number: random.Random):
        # `random()` is the one method whose sequence Python promises to keep between versions.
        self.uniform = random_number.random
        self.choices: list[int] = []
        self.spoken: list[str] = []

    def choose(self, menu: Menu, context: Context) -> int:  # noqa: ARG002
        """Draw an option; one of weight 2 comes twice as often as one of weight 1."""
        cumulative = menu.cumulative
        index = bisect(cumulative, self.uniform() * cumulative[-1])
        self.choices.append(index)
        return index

    def say(self, text: str) -> None:
        """Keep the text."""
        self.spoken.append(text)


def draw(grammar: Grammar, seed: int, number: int) -> Draw:
    """Tell story `number` of a seed and return its teller, with the choices and the text."""
    digest = blake2b(f"{seed}/{number}".encode(), digest_size=8).digest()
    teller = Draw(random.Random(int.from_bytes(digest, "big")))
    tell(grammar, teller)
    return teller


def stories(count: int, seed: int = 0) -> Iterator[str]:
    """Yield `count` stories: plain ASCII, short paragraphs separated by an empty line, no newline at the end."""
    grammar, told = storybook(), _told(seed)
    for number in range(count):
        if number < len(told):
            yield told[number]
            continue
        text = "".join(draw(grammar, seed, number).spoken)
        if number < KEPT:
            told[number : number + 1] = [text]  # the same text if another thread was here first
        yield text


@lru_cache(maxsize=1)
def _told(seed: int) -> list[str]:  # noqa: ARG001 - the key
    """Return the list that keeps the first stories of a seed; only the last seed is kept."""
    return []


@cache
def entropy_bits() -> float:
    """Return the entropy of one story in bits: no language model's average loss can be below it."""
    return entropy_of(storybook())


def openings() -> tuple[str, ...]:
    """Return all beginnings of a story, up to its first free choice: prompts for a model."""
    grammar = storybook()
    leads = grammar.rules["opening"].menu({}).leads({})
    return tuple(lead.rstrip() for lead in leads)
