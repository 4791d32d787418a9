"""The `glassgpt` command in processes that are forked from one that has its libraries imported already.

The tests of exact resuming start a training of a few seconds 27 times, and imports were more than half of their work.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
from pathlib import Path

COMMAND = str(Path(__file__).with_name("command.py"))
LIBRARIES = ["glassgpt.cli.train", "glassgpt.cli.resume", "glassgpt.cli.session", "torch._dynamo"]


class Forked:
    """`glassgpt` with some arguments in a separate process, to be watched, stopped and killed.

    It differs from `python -m glassgpt` in one way: torch is already imported, which takes longer than the rest.
    """

    def __init__(self, *arguments: str, output: Path, **variables: str) -> None:
        self._output = output
        place = {"arguments": arguments, "environment": {**os.environ, **variables}, "output": str(output)}
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(LIBRARIES)
        self._process = context.Process(target=runpy.run_path, args=(COMMAND, place, "command"))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """Its exit status; minus the signal's number if a signal ended it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it is over."""
        if self.returncode is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it has ended."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout: float = 120) -> int:
        """Wait until it is over; return its exit status."""
        self._process.join(timeout)
        assert self.returncode is not None, self.printed
        return self.returncode

    @property
    def printed(self) -> str:
        """What it has printed, including errors."""
        return self._output.read_text(encoding="utf-8") if self._output.is_file() else ""
