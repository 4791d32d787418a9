"""What is asked of a model, and what comes back for each token: the two ends of the scheduler.

A `Request` is a text to continue, given as ids, and how. `Written` is what happened to it in one step. Numbers that
are drawn for a request come from its `Draws`, which nobody else draws from: so a request writes the same text alone
and in company.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from glassgpt.errors import GenerationError, GlassGPTError
from glassgpt.generation.sampling import SamplingConfig

NO_BIAS: Mapping[int, float] = {}
DRAWN_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Request:
    """A text to continue, and how. Raises `GenerationError` for values that mean nothing."""

    ids: Sequence[int]
    """The prompt: at least one id."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    max_tokens: int | None = None
    """The most ids to write. None: until the request is cancelled. 0: only the prompt's log-probabilities."""
    seed: int | None = None
    """The same seed draws the same numbers; None draws others each time."""
    stream: int = 0
    """Which of the seed's streams of random numbers, which have nothing in common: one for each of several texts."""
    ends: frozenset[int] = frozenset()
    """Ids that end the text."""
    exclude: Sequence[int] = ()
    """Ids that are never written."""
    bias: Mapping[int, float] = field(default_factory=lambda: NO_BIAS)
    """Numbers that are added to the logits of some ids before the choice."""
    likeliest: int | None = None
    """None: no log-probabilities. n: those of each chosen id and of the n likeliest."""
    of_prompt: bool = False
    """Whether the log-probabilities of the prompt's ids are wanted, too."""

    def __post_init__(self) -> None:
        if not self.ids:
            raise GenerationError("The prompt has no tokens. Begin with <|endoftext|> to start from nothing.")
        if self.max_tokens is not None and self.max_tokens < 0:
            raise GenerationError(f"max_tokens is {self.max_tokens}; it must be 0 or more.")
        if self.max_tokens == 0 and not self.of_prompt:
            raise GenerationError(
                "max_tokens is 0, and no log-probabilities of the prompt are wanted: nothing is asked."
            )


@dataclass(frozen=True, slots=True)
class Chosen:
    """An id with its log-probability under the model, in nats: before temperature, bias and truncation."""

    id: int
    log_probability: float | None
    """None for the first id of a prompt, which nothing predicts."""
    likeliest: tuple[tuple[int, float], ...] = ()
    """The likeliest ids at this place with their log-probabilities, the likeliest first."""


@dataclass(slots=True)
class Written:
    """What one step did for a request."""

    number: int
    """The number that `Scheduler.add` gave to the request."""
    id: int | None
    """The id that was written. None where only the prompt was read, or with an error."""
    finished: str = ""
    """"" until the request's last event: "end" (one of its ends), "length" (max_tokens) or "error"."""
    chosen: Chosen | None = None
    """The same id with its log-probability, where that was asked for."""
    prompt: tuple[Chosen, ...] | None = None
    """The prompt's ids with their log-probabilities, once, where they were asked for."""
    error: GlassGPTError | None = None


class Draws:
    """The random numbers of one request, from a generator that is a function of (seed, stream) alone.

    Philox is counter-based (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): two different keys give
    sequences that have nothing in common.
    """

    def __init__(self, seed: int | None, stream: int) -> None:
        key = (
            np.frombuffer(os.urandom(16), np.uint64) if seed is None else np.array([seed, stream], np.uint64)
        )
        self._generator = np.random.Generator(np.random.Philox(key=key))
        self._ready: list[float] = []

    def next(self) -> float:
        """Return the next number, uniform in [0, 1)."""
        if not self._ready:
            self._ready = self._generator.random(DRAWN_AT_ONCE)[::-1].tolist()
        return self._ready.pop()
