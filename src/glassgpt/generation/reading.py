"""Prompts are read in pieces, so that texts that are being written do not wait for a long one.

Texts of the same length are read together, and equal ones only once. The pieces of a text depend on its length alone,
never on the company. Where the loops write, they read short texts as well, of any lengths in one step: torch takes
longer to begin than they take for all of it.

Legend: N different texts, B texts, T tokens, C width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from glassgpt.device import threads_set
from glassgpt.generation.decoder import ONE_THREAD_WORK
from glassgpt.generation.engines import ReadsAtOnce
from glassgpt.generation.likelihood import chosen_after
from glassgpt.generation.prefixes import Prefixes
from glassgpt.generation.requests import Chosen
from glassgpt.generation.texts import Text
from glassgpt.model.cache import KVCache
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import matmul_parameters

PIECE = 256
"""Tokens of each text that are read at a time."""
SHORT = 128
"""Tokens up to which the loops read what is not known of a text."""


class Reading:
    """Texts of one length that are read together, one piece at each call of `read`.

    With `known`, a cache whose first `length` tokens are those of the only text, the rest alone is read. With
    `likeliest`, the log-probabilities of the only text's ids are found on the way, beside that many likeliest ids; it
    is read in one piece, as an evaluation does.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: GPT,
        texts: Sequence[Sequence[int]],
        *,
        known: KVCache | None = None,
        length: int = 0,
        likeliest: int | None = None,
    ) -> None:
        self._model = model
        rows: dict[tuple[int, ...], int] = {}
        self.sources = [rows.setdefault(tuple(text), len(rows)) for text in texts]
        """The row of `cache` that holds each text."""
        self._ids_NT = torch.tensor(list(rows), device=model.token_embedding.weight.device)
        self.cache = model.new_cache(len(rows), capacity=self._ids_NT.shape[1])
        if known is not None:
            self.cache.keys_LBKSD[..., :length, :] = known.keys_LBKSD[..., :length, :]
            self.cache.values_LBKSD[..., :length, :] = known.values_LBKSD[..., :length, :]
            self.cache.length = length
        self._likeliest = likeliest
        self.chosen: tuple[Chosen, ...] | None = None
        """The text's ids with their log-probabilities, where they were asked for and are known."""
        self._work = matmul_parameters(model.config)

    @property
    def next_tokens(self) -> int:
        """The number of tokens that the next call of `read` takes."""
        rows, length = self._ids_NT.shape
        left = length - self.cache.length
        return rows * (left if self._likeliest is not None else min(PIECE, left))

    @torch.inference_mode()
    def read(self) -> Tensor | None:
        """Read one piece; return the logits (N, V) after the texts once they are read, before that None."""
        begin, length = self.cache.length, self._ids_NT.shape[1]
        end = begin + self.next_tokens // len(self._ids_NT)
        with threads_set(0 if self.next_tokens * self._work > ONE_THREAD_WORK else 1):
            hidden_NTC = self._model.hidden(self._ids_NT[:, begin:end], self.cache)
            if self._likeliest is not None:
                after = chosen_after(self._model, hidden_NTC[0, :-1], self._ids_NT[0, 1:], self._likeliest)
                self.chosen = (Chosen(int(self._ids_NT[0, 0]), None), *after)
            return self._model.logits(hidden_NTC[:, -1]) if end == length else None

    @torch.inference_mode()
    def of(self, row: int) -> KVCache:
        """Return the cache of one row: this cache itself if it has only that row, else a copy."""
        if self.cache.batch_size == 1:
            return self.cache
        alone = self._model.new_cache(1, capacity=self.cache.capacity)
        alone.length = self.cache.length
        alone.put([0], self.cache, [row])
        return alone


def read_at_once(
    decoder: ReadsAtOnce, texts: list[Text], first: int, prefixes: Prefixes | None, threads: int
) -> tuple[list[Text], Tensor]:
    """Read texts into the rows of a decoder from `first` on; return them in that order, and the logits (B, V) after.

    Equal ones are read once, and what is known of their beginnings is copied.
    """
    alike: dict[tuple[int, ...], list[Text]] = {}
    for text in texts:
        alike.setdefault(tuple(text.window), []).append(text)
    rows = list(range(first, first + len(alike)))
    unread, starts = [], []
    for row, (window, (text, *_)) in zip(rows, alike.items(), strict=True):
        known, length = (None, 0) if prefixes is None or text.start else prefixes.longest(window)
        if known is not None:
            decoder.put([row], known, [0])
        unread.append(list(window[length:]))
        starts.append(length)
    read_NV = decoder.read(rows, unread, starts, threads)
    joined, sources = [same[0] for same in alike.values()], list(range(len(alike)))
    for source, (window, (_, *others)) in enumerate(alike.items()):
        for text in others:
            decoder.move(first + source, first + len(joined), len(window))
            joined.append(text)
            sources.append(source)
    if prefixes is not None:
        for row, text in enumerate(joined, first):
            if not text.start:
                prefixes.keep(text.ids, partial(decoder.take, row, len(text.ids)))
    return joined, read_NV[sources]
