"""Ctrl-C, SIGTERM and a closed terminal ask the loop to stop after the current step instead of breaking it off."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """Whether a stop was requested."""

    requested: bool = False

    def __bool__(self) -> bool:
        return self.requested


@contextlib.contextmanager
def graceful_stop() -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGHUP inside the block into a `StopRequest`; a second one acts as usual.

    SIGHUP is the exception: the shell and the system may both send it when a terminal is closed, so a second one is
    ignored until the block ends. Where SIGHUP is already ignored, as under nohup, it stays ignored. Outside the main
    thread, where Python cannot handle signals, nothing is done.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def ask(_number: int, _frame: FrameType | None) -> None:
        request.requested = True
        put_back()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    for number in before:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        put_back()
