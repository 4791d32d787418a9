"""Which of two ways is faster here: both are run in pairs until one leads beyond the noise, or time is up.

One sample decides nothing: the same update of the same model took 85 and 160 ms within a minute. So both ways are
run in pairs, in alternating order, and the ratio within each pair is compared: anything that slows both cancels
out. The usual way is replaced only if the other leads by a margin that noise cannot explain.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

FLOOR = 0.03
"""Smallest spread of a ratio that is assumed: three equal samples may be luck."""
PLAIN = 3.0
"""Two pairs are enough when each exceeds the lead by this factor: on a machine where threads wait for each other, one
update may take ten times as long as another, and many such pairs would take minutes."""
HOPELESS = 8.0
"""The other way is dropped after its first run if that takes this many times as long."""

Trial = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two ways compare. `wins` is None if the noise allows no verdict."""

    ratio: float
    """How many times as fast the other way is as the usual one, the median over pairs."""
    error: float
    """Standard error of the logarithm of that ratio."""
    rounds: int
    wins: bool | None
    usual_seconds: float
    other_seconds: float


def compare(
    usual: Trial,
    other: Trial,
    *,
    lead: float = 1.05,
    seconds: float = 5.0,
    least: int = 4,
    most: int = 21,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Run `usual` and `other` in pairs until it is clear whether `other` is more than `lead` times as fast.

    Each first runs once without being counted. `seconds` limits the total; at least two pairs are timed.
    """
    began = clock()
    warm = [_timed(trial, clock) for trial in (usual, other)]
    if warm[1] > HOPELESS * warm[0]:
        return Comparison(warm[0] / warm[1], 0.0, 1, False, *warm)
    times: list[tuple[float, float]] = []
    found = Comparison(1.0, math.inf, 0, None, *warm)
    while len(times) < most and (len(times) < 2 or clock() - began < seconds):
        if len(times) % 2:
            slow = _timed(other, clock)
            times.append((_timed(usual, clock), slow))
        else:
            times.append((_timed(usual, clock), _timed(other, clock)))
        found = verdict(times, lead=lead, least=least)
        if found.wins is not None:
            break
    return found


def verdict(times: list[tuple[float, float]], *, lead: float, least: int = 4) -> Comparison:
    """Return the comparison that pairs of seconds (usual, other) give.

    With six pairs or more the spread is the median absolute deviation, so that one interrupted run does not count.
    With fewer pairs it is the range (1.69 deviations on average for three), and the lead must be 3 standard errors
    instead of 2.5: checking after each pair gives chance many tries.
    """
    logs = [math.log(max(usual, 1e-9) / max(other, 1e-9)) for usual, other in times]
    middle = statistics.median(logs)
    few = len(logs) < 6
    deviation = 1.4826 * statistics.median(abs(log - middle) for log in logs)
    spread = max(FLOOR, (max(logs) - min(logs)) / 1.69 if few else deviation)
    error = 1.2533 * spread / math.sqrt(len(logs))
    margin = (3.0 if few else 2.5) * error
    beyond = [log - math.log(lead) for log in logs]
    plain = len(logs) >= 2 and (min(beyond) > math.log(PLAIN) or max(beyond) < -math.log(PLAIN))
    clear = len(logs) >= least and abs(middle - math.log(lead)) > margin
    wins = middle > math.log(lead) if plain or clear else None
    usual, other = (statistics.median(column) for column in zip(*times, strict=True))
    return Comparison(math.exp(middle), error, len(times), wins, usual, other)


def _timed(trial: Trial, clock: Callable[[], float]) -> float:
    began = clock()
    trial()
    return clock() - began
