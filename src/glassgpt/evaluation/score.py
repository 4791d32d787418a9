"""What a probe answers with, and on what it is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from glassgpt.dataset.shards import TokenSplit
from glassgpt.runs.opening import Run


@dataclass(frozen=True, slots=True)
class Score:
    """One measured number, and what is needed to read it."""

    name: str
    measures: str
    """In a few words, what the number is."""
    value: float
    chance: float | None
    """What a model gets that knows nothing of what is asked, or None where there is no such number."""
    error: float | None
    """The standard error of the value: another set of questions would move it about so much."""
    count: int
    """Number of questions."""
    details: Mapping[str, float] = field(default_factory=dict)
    """The value's parts, and further numbers, by name."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The tokens that a run was trained on, and those that were kept back from it."""

    training: TokenSplit
    held_out: TokenSplit


@dataclass(frozen=True, slots=True)
class Subject:
    """What a probe may use: the run, and its texts, which are read only where they are asked for."""

    run: Run
    texts: Callable[[], Texts]
    seed: int = 0
    samples: int = 20
    """How many texts the run writes where a probe judges what it writes."""


def share_of(right: Sequence[float]) -> tuple[float, float]:
    """Return the share of right answers (1 right, 0 wrong, 0.5 undecided), and its error sqrt(p (1 - p) / n)."""
    share = fmean(right)
    return share, math.sqrt(share * (1 - share) / len(right))


def mean_of(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values and its standard error, the deviation over sqrt(n)."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return fmean(values), error
