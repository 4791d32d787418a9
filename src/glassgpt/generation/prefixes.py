"""What the model computed for earlier texts, kept for those that begin like them.

A chat sends its whole history with each message, and a server's prompts begin with the same system prompt. The keys and
values of a token depend only on the tokens before it, so those of a common beginning can be copied instead of computed.

Legend: N texts that may be kept, S tokens of the context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from glassgpt.model.cache import KVCache

SHORTEST = 8
"""Tokens below which a common beginning is not worth a copy."""
MOST = 64
"""Texts that are kept, however small: each new one is compared with all of them."""
NOTHING = -1
"""The id in places of no text."""


class Prefixes:
    """Caches of the beginnings of texts, up to `limit` bytes together; the one unused for longest goes first."""

    def __init__(self, limit: int, context_length: int) -> None:
        self.limit = limit
        self.size = 0
        """Bytes that are held."""
        self._ids_NS = np.full((MOST, context_length), NOTHING, np.int64)
        self._lengths_N = np.zeros(MOST, np.int64)
        self._used_N = np.zeros(MOST, np.int64)
        self._caches: list[KVCache | None] = [None] * MOST
        self._uses = 0

    def longest(self, ids: Sequence[int]) -> tuple[KVCache | None, int]:
        """Return a cache with the longest beginning of a text that is known, and its length.

        At least the last token of `ids` is left to be read: what follows it has to be computed.
        """
        common_N = self._common(np.array(ids[:-1], np.int64))
        best = int(common_N.argmax())
        if common_N[best] < SHORTEST:
            return None, 0
        self._use(best)
        return self._caches[best], int(common_N[best])

    def keep(self, ids: Sequence[int], make: Callable[[], KVCache]) -> None:
        """Keep the cache that `make` returns, of one row that holds all of `ids`, unless these are known.

        A text that it continues is no longer needed.
        """
        if len(ids) < SHORTEST:
            return
        new = np.array(ids, np.int64)
        common_N = self._common(new)
        if (common_N == len(new)).any():
            return
        cache = make()
        size = _bytes_of(cache)
        if size > self.limit:
            return
        for place in np.flatnonzero((self._lengths_N > 0) & (common_N == self._lengths_N)):
            self._drop(int(place))
        while self.size + size > self.limit or (self._lengths_N > 0).all():
            self._drop(int(np.where(self._lengths_N > 0, self._used_N, self._uses + 1).argmin()))
        place = int(self._lengths_N.argmin())  # one without a text
        self._ids_NS[place, : len(new)] = new
        self._lengths_N[place] = len(new)
        self._caches[place] = cache
        self.size += size
        self._use(place)

    def _common(self, ids: np.ndarray) -> np.ndarray:
        """Return how many ids at the beginning of a text each kept one shares, (N,)."""
        equal_NS = self._ids_NS[:, : len(ids)] == ids
        return np.where(equal_NS.all(1), len(ids), equal_NS.argmin(1) if len(ids) else 0)

    def _use(self, place: int) -> None:
        self._uses += 1
        self._used_N[place] = self._uses

    def _drop(self, place: int) -> None:
        cache, self._caches[place] = self._caches[place], None
        self.size -= _bytes_of(cache) if cache is not None else 0
        self._ids_NS[place], self._lengths_N[place] = NOTHING, 0


def _bytes_of(cache: KVCache) -> int:
    return cache.keys_LBKSD.nbytes + cache.values_LBKSD.nbytes
