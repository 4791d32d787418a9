"""Judge what a model wrote: is it a story of this world, and is it a new one?

A model that learned nothing writes no valid stories. One that only memorised writes valid stories from its
training text. The share of stories that are both valid and new shows how well it learned the world.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from statistics import fmean

from glassgpt.corpus.tinytales.generate import stories
from glassgpt.corpus.tinytales.parse import Parse, parse


@dataclass(frozen=True, slots=True)
class StoryScore:
    """How many of `total` texts are whole stories (`valid`), and how many of these are `new`.

    `mean_valid_prefix`: the average share of a text before it leaves the grammar, from 0 to 1.
    `mean_bits`: the average -log2 probability of the valid ones, None if there are none. If it is far below
    `generate.entropy_bits()`, the model writes likely stories more often than the grammar does.
    """

    total: int
    valid: int
    new: int
    mean_valid_prefix: float
    mean_bits: float | None

    @property
    def valid_share(self) -> float:
        """Return the share of texts that are whole stories, from 0 to 1."""
        return self.valid / self.total if self.total else 0.0

    @property
    def new_share(self) -> float:
        """Return the share of texts that are whole stories and not in the training text."""
        return self.new / self.total if self.total else 0.0


class StorySet:
    """A set of stories that keeps eight bytes for each instead of the text.

    For 100,000 stories, the chance that another story is taken for one of them is below one in 10^14.
    """

    def __init__(self, texts: Iterable[str] = ()):
        self._digests = {_digest(text) for text in texts}

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and _digest(text) in self._digests

    def __len__(self) -> int:
        return len(self._digests)


def _digest(text: str) -> bytes:
    """Hash a story without the space around it."""
    return blake2b(text.strip().encode(), digest_size=8).digest()


def training_texts(count: int, seed: int = 0) -> StorySet:
    """Return the set of the stories that `stories(count, seed)` yields, to check whether a text is among them."""
    return StorySet(stories(count, seed))


def score(texts: Iterable[str], training: Container[str] | Callable[[str], bool]) -> StoryScore:
    """Judge texts, each meant to be one story, against the training texts (a container, or a test of membership)."""
    known = training if callable(training) else training.__contains__
    read = [(text, parse(text)) for text in texts]
    valid = [text for text, found in read if found.valid]
    return StoryScore(
        total=len(read),
        valid=len(valid),
        new=sum(not known(text.strip()) for text in valid),
        mean_valid_prefix=fmean(valid_prefix(text, found) for text, found in read) if read else 0.0,
        mean_bits=mean_bits(found for _, found in read),
    )


def valid_prefix(text: str, found: Parse) -> float:
    """Return the share of a text, from 0 to 1, before it leaves the grammar; 0 for an empty text."""
    if not text.strip():
        return 0.0
    return 1.0 if found.breaks_at is None else found.breaks_at / len(text)


def mean_bits(texts: Iterable[str | Parse]) -> float | None:
    """Return the average -log2 probability of the valid texts, or None if there are none.

    For stories from the grammar itself it approaches `entropy_bits()` as their number grows.
    """
    found = (parse(text) if isinstance(text, str) else text for text in texts)
    bits = [-each.log2_probability for each in found if each.log2_probability is not None]
    return fmean(bits) if bits else None
