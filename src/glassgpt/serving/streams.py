"""Answers that are given up when the client leaves or time is over, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from glassgpt.serving.errors import Refused, as_api_error

Result = TypeVar("Result")
DONE = b"data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # a proxy passes each event on at once
LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
"""The characters at which Python's `splitlines` ends a line and that JSON need not escape, with their escapes."""


class ClientLeft(Exception):
    """The client closed the connection."""


def to_json(value: Any) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class Answer(Response):
    """JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content)


async def unless_left(receive: Receive, work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """Return the result of some work; end it at once when the client closes the connection, or after some seconds.

    Raises `ClientLeft`, or `Refused` when time is over or the server ends.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if leaving.done():
            raise ClientLeft
        raise Refused(
            504, f"The answer took longer than {seconds:g} seconds. Ask for fewer tokens.", code="timeout"
        )
    except asyncio.CancelledError:  # only the server's end cancels a request: its limit is over
        raise Refused(503, "The server is ending. Try again when it is back.", code="shutdown") from None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events. An error before the first one becomes an ordinary answer with its status."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], *, seconds: float) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._events, self._seconds, self._begun = events, seconds, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await unless_left(receive, self._send_all(send), self._seconds)
        except ClientLeft:
            pass
        except Exception as error:
            failure = as_api_error(error)
            if not self._begun:
                await JSONResponse(failure.content(), failure.status, failure.headers)(scope, receive, send)
            else:
                # A client that does not read is not waited for.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._end(send, event(failure.content())), 1)

    async def _send_all(self, send: Send) -> None:
        async with contextlib.aclosing(self._events) as events:
            async for data in events:
                if not self._begun:
                    self._begun = True
                    start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                    await send(start)
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await self._end(send)

    async def _end(self, send: Send, *events: bytes) -> None:
        await send({"type": "http.response.body", "body": b"".join(events) + DONE, "more_body": False})


def event(content: Any) -> bytes:
    """Return an event: one line for every client.

    Only CR and LF end a line of server-sent events, but clients that read lines with `httpx` also end them at those of
    Unicode.
    """
    return b"data: " + to_json(content).decode().translate(LINE_ENDS).encode() + b"\n\n"
