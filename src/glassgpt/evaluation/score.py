"""The result of a probe, and what a probe is run on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from glassgpt.dataset.shards import TokenSplit
from glassgpt.runs.opening import Run


@dataclass(frozen=True, slots=True)
class Score:
    """One measured number, and what is needed to interpret it."""

    name: str
    measures: str
    """What the number is, in a few words."""
    value: float
    chance: float | None
    """The value of a model that knows nothing about the questions, or None where there is no such number."""
    error: float | None
    """The standard error: another set of questions would change the value by about this much."""
    count: int
    """Number of questions."""
    details: Mapping[str, float] = field(default_factory=dict)
    """Parts of the value, and further numbers, by name."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The tokens that a run was trained on, and those that were held out."""

    training: TokenSplit
    held_out: TokenSplit


@dataclass(frozen=True, slots=True)
class Subject:
    """What a probe may use: the run, and its texts, which are read only when they are needed."""

    run: Run
    texts: Callable[[], Texts]
    seed: int = 0
    samples: int = 20
    """Number of texts that the run writes for a probe that judges its writing."""


def share_of(right: Sequence[float]) -> tuple[float, float]:
    """Return the share of right answers (1 right, 0 wrong, 0.5 undecided), and its error sqrt(p (1 - p) / n)."""
    share = fmean(right)
    return share, math.sqrt(share * (1 - share) / len(right))


def mean_of(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values and its standard error, the standard deviation over sqrt(n)."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return fmean(values), error
