"""The model's step with torch: one more token for each row of a batch, over a cache.

Legend: B rows, S places that attention reads, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glassgpt.device import threads_set
from glassgpt.model.cache import KVCache, RowCache
from glassgpt.model.gpt import GPT

SMALLEST_CACHE = 64
"""Tokens that a cache has room for at first; it doubles a few times, up to the context length."""
ONE_THREAD_WORK = 20_000_000
"""Multiply-adds of a step below which a second CPU thread costs more waiting than it saves."""


class Decoder:
    """Rows of cached tokens, each with its own length; `put` texts that were read into them, then `step`."""

    @torch.inference_mode()
    def __init__(self, model: GPT, rows: int) -> None:
        self.model = model
        self.device = model.token_embedding.weight.device
        self.cache = model.new_cache(rows, capacity=min(SMALLEST_CACHE, model.config.context_length))
        self._slots = torch.arange(model.config.context_length, device=self.device)

    @property
    def rows(self) -> int:
        """The number of rows that there is room for."""
        return self.cache.batch_size

    @torch.inference_mode()
    def put(self, rows: list[int], held: KVCache, sources: list[int]) -> None:
        """Replace the contents of `rows` by those of the rows `sources` of a cache."""
        self._make_room(held.length)
        self.cache.put(rows, held, sources)

    @torch.inference_mode()
    def take(self, row: int, length: int) -> KVCache:
        """Return a copy of the first `length` tokens of a row."""
        taken = self.model.new_cache(1, capacity=length)
        taken.keys_LBKSD[:, 0] = self.cache.keys_LBKSD[:, row, :, :length]
        taken.values_LBKSD[:, 0] = self.cache.values_LBKSD[:, row, :, :length]
        taken.length = length
        return taken

    @torch.inference_mode()
    def step(self, ids: list[int], places: list[int], threads: int) -> Tensor:
        """Add one id to each of the first rows, at its place, with some threads; return the logits (B, V) after it."""
        ids_B1 = torch.tensor(ids, device=self.device).unsqueeze(-1)
        places_B = torch.tensor(places, device=self.device)
        self._make_room(max(places) + 1)
        slots_S = self._slots[: max(places) + 1]
        cache = RowCache(self.cache.keys_LBKSD, self.cache.values_LBKSD, places_B, slots_S)
        with threads_set(threads):
            return self.model.step(ids_B1, cache)

    @torch.inference_mode()
    def move(self, source: int, target: int, length: int) -> None:
        """Copy the `length` tokens of row `source` to row `target`."""
        self.cache.move(source, target, length)

    @torch.inference_mode()
    def grow(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self._resize(rows, self.cache.capacity)

    def _make_room(self, tokens: int) -> None:
        """Double the cache until `tokens` fit; a small cache keeps short texts close together, which reads faster."""
        if tokens > self.cache.capacity:
            self._resize(self.rows, doubled(self.cache.capacity, tokens, self.model.config.context_length))

    def _resize(self, rows: int, capacity: int) -> None:
        smaller = self.cache
        self.cache = self.model.new_cache(rows, capacity=capacity)
        smaller.length = smaller.capacity
        everything = list(range(smaller.batch_size))
        self.cache.put(everything, smaller, everything)


def doubled(capacity: int, tokens: int, most: int) -> int:
    """Return the capacity of a cache, doubled until `tokens` fit, but not beyond `most`."""
    while capacity < tokens:
        capacity = min(2 * capacity, most)
    return capacity
