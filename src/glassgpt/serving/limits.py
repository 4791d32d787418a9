"""How much a client may ask for, and how much all of them together.

A request that could never be served is refused with a 400 that names the limit. One that comes while the server is
full is refused with a 429, and `Retry-After` says when to try again.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from glassgpt.errors import ConfigError
from glassgpt.serving.errors import Refused


@dataclass(frozen=True)
class Limits:
    """The limits of a server."""

    head_seconds: float = 30.0
    """The longest time in which the request line and the headers must have arrived."""
    body_bytes: int = 4 * 2**20
    """The longest body of a request."""
    body_seconds: float = 30.0
    """The longest time in which a body must have arrived."""
    max_tokens: int = 16_384
    """The most tokens that one text may have."""
    choices: int = 128
    """The most texts for one prompt (`n`)."""
    queue: int = 1024
    """The most texts that are being written or waiting, of all clients together."""
    seconds: float = 600.0
    """The longest time that an answer may take."""
    send_seconds: float = 60.0
    """How long a client may read nothing of what waits for it."""
    drain_seconds: float = 30.0
    """How long running answers may go on after SIGTERM."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"--{name.replace('_', '-')} is {value:g}: it must be above 0.")


class Admission:
    """Counts the texts that are being written or waiting, and refuses more than the limit."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0
        self._seconds = 1.0  # how long a request took lately

    @contextlib.contextmanager
    def of(self, texts: int) -> Iterator[None]:
        """Count this many texts during the block. Raises `Refused` 429 where there is no room for them now."""
        if texts > self.most:
            raise Refused(
                400,
                f"The request asks for {texts:,} texts at once, and this server writes at most {self.most:,}. "
                "Send them in several requests.",
                param="prompt",
            )
        if self.now + texts > self.most:
            raise Refused(
                429,
                f"The server is writing {self.now:,} texts and has room for {self.most:,}. Try again later.",
                code="queue_full",
                headers={"Retry-After": str(max(1, min(60, round(self._seconds))))},
            )
        self.now += texts
        began = time.monotonic()
        try:
            yield
        finally:
            self.now -= texts
            self._seconds += (time.monotonic() - began - self._seconds) / 8
