"""One more token for each row of a batch: the model's step over its cache, recorded when it is called often.

A small model's step is a hundred small operations, and most of its time goes into starting them from Python. So after
`RECORD_AFTER` steps, `torch.jit.trace` records the model's step, and from then on it is replayed from C++, which
halves the time per token. The recording is of the model's own code: it shares weights and cache with the model and
reads every size from tensors, so one recording serves all positions, all numbers of rows, and all later batches. Hooks
are not replayed: while the model has any hook, the model itself takes the step. A recording is made again when modules
or weights were replaced (`outline`). (`torch.compile` was measured, too: it was no faster and took 20 to 30 s.)

Legend: B rows, T tokens, S places that attention reads, V vocabulary.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from glassgpt.generation.outline import Outline
from glassgpt.model.cache import KVCache, RowCache
from glassgpt.model.gpt import GPT

RECORD_AFTER = 256
"""Steps of a model before they are recorded: about as many as win back the 0.15 s that recording takes."""
RECORD_BELOW = 512
"""Models this wide or wider spend their time in arithmetic, so a recording gains nothing."""
SMALLEST_CACHE = 64
"""Tokens that a cache has room for at first; it doubles a few times, up to the context length."""
ONE_THREAD_WORK = 20_000_000
"""Multiply-adds of a step below which a second CPU thread costs more waiting than it saves."""


@dataclass(slots=True)
class _Recording:
    """The recording of a model, and how often its step was called before."""

    weights: list[int]
    outline: Outline
    asked: int = 0
    step: Callable[..., Tensor] | None = None


class Decoder:
    """Rows of cached tokens, each with its own length; `fill` them with texts, then `step`."""

    def __init__(self, model: GPT, rows: int, *, record_after: int | None = RECORD_AFTER) -> None:
        self.model = model
        self.device = model.token_embedding.weight.device
        self.cache = model.new_cache(rows, capacity=min(SMALLEST_CACHE, model.config.context_length))
        self._slots = torch.arange(model.config.context_length, device=self.device)
        self._step = _Step(model)
        self._recording = _recording_of(model)
        small = self.device.type == "cpu" and model.config.n_embd < RECORD_BELOW
        self._record_after = record_after if small else None

    def fill(self, rows: list[int], texts: list[list[int]]) -> Tensor:
        """Replace the contents of rows by these texts; return the logits (B, V) after each."""
        self._make_room(max(map(len, texts)))
        return read_texts(
            self.model,
            texts,
            lambda places, held, sources: self.cache.put([rows[place] for place in places], held, sources),
        )

    def step(self, ids: list[int], places: list[int]) -> Tensor:
        """Add one id to each of the first rows, at its place; return the logits (B, V) after it."""
        ids_B1 = torch.tensor(ids, device=self.device).unsqueeze(-1)
        places_B = torch.tensor(places, device=self.device)
        self._make_room(max(places) + 1)
        slots_S = self._slots[: max(places) + 1]
        return self._next_step()(ids_B1, places_B, slots_S, self.cache.keys_LBKSD, self.cache.values_LBKSD)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the `length` tokens of row `source` to row `target`."""
        self.cache.move(source, target, length)

    def _make_room(self, tokens: int) -> None:
        """Double the cache until `tokens` fit; a small cache keeps short texts close together, which reads faster."""
        if tokens <= self.cache.capacity:
            return
        smaller = self.cache
        capacity = doubled(smaller.capacity, tokens, self.model.config.context_length)
        self.cache = self.model.new_cache(smaller.batch_size, capacity=capacity)
        rows = list(range(smaller.batch_size))
        smaller.length = smaller.capacity
        self.cache.put(rows, smaller, rows)

    def _next_step(self) -> Callable[..., Tensor]:
        if self._record_after is None or self._recording.outline.is_watched():
            return self._step
        if not self._recording.outline.is_same():
            self._recording = _recording_of(self.model)
        self._recording.asked += 1
        if self._recording.step is None and self._recording.asked > self._record_after:
            self._recording.step = record(self.model)
        return self._recording.step or self._step


def doubled(capacity: int, tokens: int, most: int) -> int:
    """Return the capacity of a cache, doubled until `tokens` fit, but not beyond `most`."""
    while capacity < tokens:
        capacity = min(2 * capacity, most)
    return capacity


def read_texts(
    model: GPT, texts: list[list[int]], put: Callable[[list[int], KVCache, list[int]], None]
) -> Tensor:
    """Let the model read texts; return the logits (B, V) after each.

    Texts of the same length are computed together, and equal ones only once. `put` gets the indexes of some texts, a
    cache, and the row of that cache which holds each of them.
    """
    logits: dict[int, Tensor] = {}
    for alike in group_by_length(texts):
        distinct = list(dict.fromkeys(tuple(texts[index]) for index in alike))
        ids_BT = torch.tensor(distinct, device=model.token_embedding.weight.device)
        held = model.new_cache(len(distinct), capacity=ids_BT.shape[1])
        logits_BV = model.logits(model.hidden(ids_BT, held)[:, -1])
        sources = [distinct.index(tuple(texts[index])) for index in alike]
        put(alike, held, sources)
        logits.update(zip(alike, logits_BV[sources], strict=True))
    return torch.stack([logits[index] for index in range(len(texts))])


class _Step(nn.Module):
    """The model's step with only tensors as arguments and result, as a recording needs it."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids_B1: Tensor, places_B: Tensor, slots_S: Tensor, keys_LBKSD: Tensor, values_LBKSD: Tensor
    ) -> Tensor:
        """Return the logits (B, V)."""
        return self.model.step(ids_B1, RowCache(keys_LBKSD, values_LBKSD, places_B, slots_S))


def record(model: GPT) -> Callable[..., Tensor]:
    """Return a recording of a model's step, or the step itself where torch cannot make one."""
    # Two rows and two places, because sizes of 1 would be recorded as constants.
    cache = model.new_cache(2, capacity=2)
    places_B = torch.zeros(2, dtype=torch.int64)
    example = (places_B.unsqueeze(-1), places_B, torch.arange(2), cache.keys_LBKSD, cache.values_LBKSD)
    step = _Step(model).eval()
    try:
        with warnings.catch_warnings():
            # torch deprecates it in favour of compilers that take 20 s or more and gain less (see above).
            warnings.simplefilter("ignore")
            return cast("Callable[..., Tensor]", torch.jit.trace(step, example, check_trace=False))
    except (RuntimeError, AttributeError, TypeError):
        return step


# Recordings live as long as their model: what was recorded for one batch serves the next.
_RECORDINGS: WeakKeyDictionary[GPT, _Recording] = WeakKeyDictionary()


def _recording_of(model: GPT) -> _Recording:
    """Return the model's recording, a new one if parts were replaced (weights changed in place are shared)."""
    weights = [weight.data_ptr() for weight in model.state_dict(keep_vars=True).values()]
    known = _RECORDINGS.get(model)
    if known is None or known.weights != weights or not known.outline.is_same():
        known = _RECORDINGS[model] = _Recording(weights, Outline(model))
    return known


def group_by_length(texts: list[list[int]]) -> list[list[int]]:
    """Return the indexes of texts, grouped by length."""
    groups: dict[int, list[int]] = {}
    for index, text in enumerate(texts):
        groups.setdefault(len(text), []).append(index)
    return list(groups.values())
