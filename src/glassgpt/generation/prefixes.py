"""What the model computed for earlier texts, kept for those that begin like them.

A chat sends its whole history with each message, and a server's prompts begin with the same system prompt. The keys and
values of a token depend only on the tokens before it, so those of a common beginning can be copied instead of computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glassgpt.model.cache import KVCache

SHORTEST = 8
"""Tokens below which a common beginning is not worth a copy."""
MOST = 256
"""Texts that are kept, however small: each new one is compared with all of them."""


class Prefixes:
    """Caches of the beginnings of texts, up to `limit` bytes together; the one unused for longest goes first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        """Bytes that are held."""
        self._kept: list[tuple[np.ndarray, KVCache]] = []  # the last used at the end

    def longest(self, ids: Sequence[int]) -> tuple[KVCache | None, int]:
        """Return a cache with the longest beginning of a text that is known, and its length.

        At least the last token of `ids` is left to be read: what follows it has to be computed.
        """
        if not self._kept:
            return None, 0
        looked_for = np.array(ids[:-1])
        lengths = [_common(looked_for, known) for known, _ in self._kept]
        best = int(np.argmax(lengths))
        if lengths[best] < SHORTEST:
            return None, 0
        self._kept.append(self._kept.pop(best))
        return self._kept[-1][1], lengths[best]

    def is_known(self, ids: Sequence[int]) -> bool:
        """Return whether the cache of a whole text is held."""
        wanted = np.array(ids)
        return any(_common(wanted, known) == len(wanted) for known, _ in self._kept)

    def keep(self, ids: Sequence[int], cache: KVCache) -> None:
        """Keep a cache with one row, which holds all of `ids`. What it continues is no longer needed."""
        size = cache.keys_LBKSD.nbytes + cache.values_LBKSD.nbytes
        if len(ids) < SHORTEST or size > self.limit:
            return
        new = np.array(ids)
        for place in reversed(range(len(self._kept))):
            known = self._kept[place][0]
            if _common(new, known) == len(known):
                self._drop(place)
        self._kept.append((new, cache))
        self.size += size
        while self.size > self.limit or len(self._kept) > MOST:
            self._drop(0)

    def _drop(self, place: int) -> None:
        _, cache = self._kept.pop(place)
        self.size -= cache.keys_LBKSD.nbytes + cache.values_LBKSD.nbytes


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Return the number of equal ids at the beginning of two texts."""
    length = min(len(one), len(other))
    differ = one[:length] != other[:length]
    return int(differ.argmax()) if differ.any() else length
