"""How long a client may take to send the head of a request, and to read what was sent to it.

uvicorn has no limit for either. Its own timeout is for a connection between two requests and ends with the next byte.
A client that sends one byte a second, or nothing at all on a new connection, would hold the connection for ever. So
would one that never reads: a connection is closed only when all that waits has been sent. The time of a body is limited
in `guard`, that of an answer in `streams`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from glassgpt.serving.limits import Limits


class TimeLimited(AutoHTTPProtocol):
    """uvicorn's protocol, which ends a connection when the head of a request takes too long, or nothing is read.

    The time of a head runs from the connection on, or from the first byte after an answer, until a request is complete
    enough to be answered. Nothing is said before the end: a client that is still sending does not read. What is left of
    a body that was refused before it had all arrived is limited by the same time.
    """

    head_seconds: float
    send_seconds: float
    cycle: Any
    """uvicorn's: the newest request, from its complete head on; None before the first."""
    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._close, self._abort = transport.close, transport.abort
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
        self._stop_send_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for the client to read: so much waits for it that no more is taken."""
        super().pause_writing()
        self._send_timer = asyncio.get_running_loop().call_later(self.send_seconds, self._abort)

    def resume_writing(self) -> None:
        """Go on: it has read."""
        self._stop_send_timer()
        super().resume_writing()

    def _start_head_timer(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(self.head_seconds, self._close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None


def protocol_of(limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol class for a server with some limits: uvicorn makes an object of it for each connection."""

    class Protocol(TimeLimited):
        head_seconds, send_seconds = limits.head_seconds, limits.send_seconds

    return Protocol
