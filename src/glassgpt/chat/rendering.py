"""Rendering chat templates: ours in this process, others in a process that is stopped when it takes too long.

See `template_worker` for why.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glassgpt.chat import template_worker
from glassgpt.errors import ConfigError

SECONDS = 10.0
"""The longest time that a template may take for one conversation."""

Render = Callable[[dict[str, Any]], str]


def render_here(source: str) -> Render:
    """Return a function that renders one of our templates."""
    template = template_worker.Environment().from_string(source)
    return lambda values: template_worker.render(template, values)


class Worker:
    """A process that renders one template. It starts at the first use and ends with this object.

    Calling it raises `ConfigError` on failure; the message names the template by its `name`.
    """

    def __init__(self, source: str, name: str) -> None:
        self._source, self._name = source, name
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, values: dict[str, Any]) -> str:
        """Return what the template writes for these values."""
        with self._lock:
            answer = self._ask(self._process or self._start(), values)
        if "error" in answer:
            raise ConfigError(
                f"{self._name} {answer['error']}. Correct it, or fine-tune with --template chatml."
            )
        return answer["text"]

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: do not import from the folder of this file, which has modules named like Python's own.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(template_worker.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must reach only this process
        )
        weakref.finalize(self, _end, self._process)
        _write(self._process, self._source)
        return self._process

    def _ask(self, process: subprocess.Popen[bytes], values: dict[str, Any]) -> dict[str, str]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(SECONDS, stop)
        timer.start()
        try:
            _write(process, values)
            assert process.stdout is not None
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            return json.loads(line)
        _end(process)
        self._process = None
        if late.is_set():
            return {"error": f"takes longer than {SECONDS:g} seconds for these messages"}
        return {"error": "cannot write these messages: it needs more than a template may have"}


def _write(process: subprocess.Popen[bytes], value: Any) -> None:
    """Send one line; a process that has ended is detected when its answer is read."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(json.dumps(value).encode() + b"\n")
        process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
