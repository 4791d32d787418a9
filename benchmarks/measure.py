"""Reliable timing and memory on a machine that other programs also use.

A single time says little, because the machine's speed drifts. So subjects run alternately, A B A B, and are compared
by their medians over the same minutes. Memory is the peak of a fresh process, because a process does not report which
of its memory it no longer needs.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def alternate(
    subjects: dict[str, Callable[[], object]], *, rounds: int, warmups: int = 1
) -> dict[str, float]:
    """Return the median seconds of each subject; they alternate for `rounds` rounds after `warmups` uncounted ones."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for round_ in range(-warmups, rounds):
        for name, subject in subjects.items():
            elapsed = timed(subject)
            if round_ >= 0:
                seconds[name].append(elapsed)
    return {name: statistics.median(values) for name, values in seconds.items()}


def timed(subject: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    began = time.perf_counter()
    subject()
    return time.perf_counter() - began


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy with another program during the block."""
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(0.5)
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


def resident_bytes(process: int | str = "self") -> int:
    """Return the bytes of a process that are in memory now (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@dataclass(frozen=True)
class Fresh:
    """What a function returned in a separate process, how long it took there, and how much memory it needed."""

    value: Any
    seconds: float
    peak_bytes: int
    """Peak memory of the process, including Python and its libraries."""
    own_bytes: int
    """The same, less what it held when the function began, after its module's imports."""


def fresh(function: Callable[..., Any], *arguments: Any) -> Fresh:
    """Call a module's function in a new process, without its imports in the time. Its errors are raised here."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (function, arguments))


def _measured(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Fresh:
    before = peak_memory()
    began = time.perf_counter()
    value = function(*arguments)
    seconds = time.perf_counter() - began
    peak = peak_memory()
    return Fresh(value, seconds, peak, peak - before)


def peak_memory() -> int:
    """Return the peak memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # rusage would include what the parent process held before exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
