"""What stands before every route: who may ask, how long a body may be, and which spellings of an address are one.

All are plain ASGI: they pass messages on as they come, so that a stream is not held back and a client that leaves is
noticed.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glassgpt.serving.errors import Refused
from glassgpt.serving.limits import Limits
from glassgpt.serving.metrics import Metrics

OF_OPENAI = ("models", "completions", "chat/completions", "embeddings")
OPEN = ("/health", "/openapi.json", "/docs")
"""Addresses that need no key: they show nothing of the runs."""


class Addresses:
    """Makes one address of those that clients form with any base URL: `/v1//models`, `/models`, `/v1/models/`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its address as the routes know it."""
        if scope["type"] == "http":
            path = "/" + re.sub("/{2,}", "/", scope["path"]).strip("/")
            if any(path == f"/{name}" or path.startswith(f"/{name}/") for name in OF_OPENAI):
                path = "/v1" + path
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)


class Counted:
    """Counts answers by address and status, with their times."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count its answer; 499 where the client left before it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 499, time.monotonic()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - began)


class Guard:
    """Refuses requests without the key, from pages of other hosts, and with bodies that are too long or too slow.

    `hosts` are the names under which the server may be reached, without a key: a web page can let its own name lead
    to this machine (DNS rebinding) and would read what is meant for its user. None takes any name.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, api_key: str | None, hosts: Collection[str] | None
    ) -> None:
        self._app, self._limits, self._hosts = app, limits, hosts
        self._key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer with a refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._refuse(scope)
            body = await self._body(Headers(scope=scope), receive)
        except Refused as error:
            await error.response()(scope, receive, send)
            return
        if body is None:
            return

        sent = False

        async def receiving() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, receiving, send)

    def _refuse(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and re.sub(r":\d+$", "", host).lower() not in self._hosts:
            raise Refused(
                403,
                "The server is not reached under this name. Use one of this machine's (http://127.0.0.1), or let the "
                "server ask for a key (--api-key).",
                code="unknown_host",
            )
        is_open = scope["path"] in OPEN or scope["path"].startswith("/docs/") or scope["method"] == "OPTIONS"
        if self._key is None or is_open:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Compared in a time that says nothing about how much of it is right.
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._key):
            raise Refused(
                401,
                "The API key is missing or wrong. Send it as  Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """Return the body, or None where the client left meanwhile. Raises `Refused` beyond the limits."""
        most = self._limits.body_bytes
        too_long = Refused(413, f"The body is longer than {most:,} bytes, which is this server's limit.")
        stated = headers.get("content-length", "0")
        if stated.isdecimal() and len(stated) < 20 and int(stated) > most:
            raise too_long
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise too_long
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Refused(408, f"The body took longer than {self._limits.body_seconds:g} seconds.") from None
        return b"".join(parts)
