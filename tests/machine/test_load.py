"""How much other programs work: another busy process is detected, and our own work is not counted as others'."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from glassgpt.machine import load
from glassgpt.machine.load import Meter, used_by_others

needs_linux = pytest.mark.skipif(load._snapshot() is None, reason="this system does not count cores' time")


@needs_linux
def test_another_process_is_detected_and_counted_within_its_core() -> None:
    """Compared with the CPU seconds that the process used, not with a fixed share."""
    code = "import time\nend = time.time() + 20\nwhile time.time() < end: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(0.3)
        meter, began = Meter(), _cpu_seconds(process.pid)
        start = time.perf_counter()
        time.sleep(1.0)
        used = (_cpu_seconds(process.pid) - began) / (time.perf_counter() - start)
        assert meter.read() >= used - 0.1
    finally:
        process.kill()
        process.wait()


def _cpu_seconds(pid: int) -> float:
    import os
    from pathlib import Path

    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@needs_linux
def test_our_own_work_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With scripted counters: 3 s of work on two cores in 2 s, of which 1.9 s were ours."""
    snapshots = iter([(10.0, 100.0, 50.0), (12.0, 103.0, 51.9)])
    monkeypatch.setattr(load, "_snapshot", lambda: next(snapshots))
    assert Meter().read() == pytest.approx(0.55)


def test_where_nothing_is_counted_the_load_average_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_snapshot", lambda: None)
    monkeypatch.setattr(load.os, "getloadavg", lambda: (3.0, 0.0, 0.0), raising=False)
    assert used_by_others(0.0) == 2.0
    monkeypatch.setattr(load.os, "getloadavg", lambda: (0.4, 0.0, 0.0), raising=False)
    assert used_by_others(0.0) == 0.0
