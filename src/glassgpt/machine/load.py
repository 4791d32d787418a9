"""How much of the processor other programs use now.

A measurement made while another program keeps a core busy says little about the machine, and a number of
threads that was right an hour ago may be three times too slow beside a compiler. So both need the load from
other programs. The operating system counts the time of every core; time that is neither ours nor idle belongs
to others.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

QUIET = 0.25
"""Cores in use by others below which the machine counts as quiet."""


class Meter:
    """Measures how many cores other programs used since the last reading."""

    def __init__(self) -> None:
        self._last = _snapshot()

    def read(self) -> float:
        """Return how many cores others used on average since the last reading; 0 if this is unknown."""
        before, self._last = self._last, _snapshot()
        if before is None or self._last is None:
            return _by_load_average()
        elapsed, all_busy, ours = (now - then for now, then in zip(self._last, before, strict=True))
        return max(0.0, all_busy - ours) / elapsed if elapsed > 0 else 0.0


def used_by_others(seconds: float = 0.1) -> float:
    """Return how many cores others use, measured for a moment while this process sleeps."""
    meter = Meter()
    time.sleep(seconds)
    return meter.read()


def _snapshot() -> tuple[float, float, float] | None:
    """Return the wall time, the busy time of the cores we may use, and our own time, in seconds; None if unknown."""
    with contextlib.suppress(OSError, ValueError, AttributeError, IndexError):
        mine = {f"cpu{index}" for index in os.sched_getaffinity(0)}
        tick = os.sysconf("SC_CLK_TCK")
        busy = 0.0
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            name, *fields = line.split()
            if name in mine:
                user, nice, system, _idle, _waiting, interrupt, soft, stolen = map(int, fields[:8])
                busy += (user + nice + system + interrupt + soft + stolen) / tick
        own = os.times()
        return time.perf_counter(), busy, own.user + own.system
    return None


def _by_load_average() -> float:
    """Return an estimate for other systems: the programs running in the last minute, without this one."""
    with contextlib.suppress(OSError, AttributeError):
        return max(0.0, os.getloadavg()[0] - 1.0)
    return 0.0
