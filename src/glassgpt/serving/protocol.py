"""How long a client may take to send the head of a request: the request line and the headers.

uvicorn has no limit for it. Its own timeout is for a connection between two requests and ends with the next byte, so
that a client which sends one byte a second, or nothing at all on a new connection, would hold the connection for ever.
The time of a body is limited in `guard`, that of an answer in `streams`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from glassgpt.serving.limits import Limits


class HeadLimited(AutoHTTPProtocol):
    """uvicorn's protocol, which closes a connection when the head of a request takes too long.

    The time runs from the connection on, or from the first byte after an answer, until a request is complete enough
    to be answered. Nothing is said before the end: a client that is still sending does not read. What is left of a
    body that was refused before it had all arrived is limited by the same time.
    """

    head_seconds: float
    cycle: Any
    """uvicorn's: the newest request, from its complete head on; None before the first."""
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._close = transport.close
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Take some bytes; afterwards a request is being answered, or a head is incomplete."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def _start_head_timer(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(self.head_seconds, self._close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def protocol_of(limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol class for a server with some limits: uvicorn makes an object of it for each connection."""

    class Protocol(HeadLimited):
        head_seconds = limits.head_seconds

    return Protocol
