"""Clients of a server with OpenAI's interface, as light as Python allows, because they share the cores with it.

Each client keeps one connection and sends its requests one after the other. Nothing is parsed but what must be known:
when the first text came, and whether the answer is whole: as many tokens as were asked for.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TEXT = re.compile(rb'"text": ?"[^"]')
WHOLE = re.compile(rb'"finish_reason": ?"length"')


@dataclass(frozen=True)
class Load:
    """What some clients saw."""

    seconds: float
    """From the first request to the end of the last answer."""
    first: list[float]
    """Seconds of each whole answer until its first text came."""
    lost: int
    """Answers that are missing, refused or cut off."""
    cpu_seconds: float
    """What the clients themselves took."""


def load(port: int, path: str, bodies: Sequence[Sequence[dict[str, Any]]]) -> Load:
    """Send `bodies[i]` as client i, all clients at once."""
    return asyncio.run(_all(port, path, bodies))


async def _all(port: int, path: str, bodies: Sequence[Sequence[dict[str, Any]]]) -> Load:
    raw = [[_request(path, body) for body in of_client] for of_client in bodies]
    cpu, began = time.process_time(), time.perf_counter()
    found = await asyncio.gather(*(_client(port, requests) for requests in raw))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    firsts = [first for of_client in found for first in of_client]
    known = [first for first in firsts if first is not None]
    return Load(seconds, known, sum(map(len, bodies)) - len(known), cpu)


def _request(path: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def _client(port: int, requests: Sequence[bytes]) -> list[float | None]:
    """Return the seconds until the first text of each answer; None for one that is not whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    found: list[float | None] = []
    try:
        for request in requests:
            began = time.perf_counter()
            writer.write(request)
            first = await _answer(reader)
            found.append(None if first is None else first - began)
    except (OSError, EOFError):
        pass
    finally:
        writer.close()
    return found


async def _answer(reader: asyncio.StreamReader) -> float | None:
    """Return when the first text of an answer came, or None where it is not whole."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    first, last = None, b""
    if b"transfer-encoding: chunked" not in head:
        last = await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
        first = time.perf_counter()
    else:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            chunk = await reader.readexactly(size + 2)
            if first is None and TEXT.search(chunk):
                first = time.perf_counter()
            last = last[-1000:] + chunk[:-2]
        await reader.readexactly(2)
    return first if head.startswith(b"http/1.1 200") and WHOLE.search(last) else None
