"""Counting distinct items, and the items that two streams share, in bounded memory.

Every item is turned into a 64-bit hash. A `DistinctSample` keeps all hashes while they are few. When they
become too many it keeps only those whose lowest bit is zero, then whose lowest two bits are, and so on. The
rest is a fair sample of the distinct items, of a known share: Gibbons 2001, "Distinct Sampling for
Highly-Accurate Answers to Distinct Values Queries". Exact up to `limit`, within about 1% beyond.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

RUN = 13  # words, as for finding test text in GPT-3's training text (Brown et al. 2020, appendix C)
LIMIT = 1 << 17


class DistinctSample:
    """A sample of the distinct hashes that were added, at most `limit` of them."""

    def __init__(self, limit: int = LIMIT):
        self.limit = limit
        self.level = 0  # only hashes that end in this many zero bits are kept
        self.hashes: set[int] = set()

    def add(self, hashes: Hashes) -> None:
        """Add hashes (any number, repeats welcome)."""
        kept = hashes[hashes & self._mask(self.level) == 0]
        self.hashes.update(kept.tolist())
        while len(self.hashes) > self.limit:
            self.level += 1
            self.hashes = self.at_level(self.level)

    def at_level(self, level: int) -> set[int]:
        """Return the hashes that end in `level` zero bits."""
        mask = int(self._mask(level))
        return {value for value in self.hashes if value & mask == 0}

    @property
    def count(self) -> int:
        """Return the number of distinct items that were added: exact while `level` is 0, else estimated."""
        return len(self.hashes) << self.level

    @staticmethod
    def _mask(level: int) -> np.uint64:
        return np.uint64((1 << level) - 1)


def shared(part: DistinctSample, whole: DistinctSample) -> float:
    """Return the share of the distinct items in `part` that are also in `whole`."""
    level = max(part.level, whole.level)
    mine = part.at_level(level)
    return len(mine & whole.at_level(level)) / len(mine) if mine else 0.0


def hash_texts(texts: Iterable[str]) -> Hashes:
    """Return a hash for each text."""
    digests = b"".join(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def hash_words(text: str) -> Hashes:
    """Return a hash for each word of a text, in order; case is ignored."""
    words = text.lower().encode("utf-8", "replace").split()
    return _scatter(np.fromiter(map(zlib.crc32, words), dtype=np.uint64, count=len(words)))


def hash_runs(words: Hashes, size: int = RUN) -> Hashes:
    """Return a hash for each run of `size` consecutive words, from the words' hashes."""
    count = max(len(words) - size + 1, 0)
    total = np.zeros(count, dtype=np.uint64)
    for i in range(size):
        total = total * np.uint64(0x100000001B3) + words[i : i + count]
    return _scatter(total)


def _scatter(values: Hashes) -> Hashes:
    """Mix all bits into all bits (splitmix64's finalizer), so that the low ones are as good as random."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
