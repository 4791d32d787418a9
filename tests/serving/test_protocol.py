"""Clients that send slowly or never read, over raw sockets: both have limits, and nothing else is cut short."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from glassgpt.serving.guard import Guard
from glassgpt.serving.limits import Limits
from glassgpt.serving.streams import EventStream
from tests.serving.conftest import listening

SHORT, LONGER = 0.5, 1.2
"""The limit for a head here, and a time that is longer by far."""
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET_SLOWLY = GET.replace(b" / ", b" /slowly ")
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the length of the body; at `/slowly` between two halves of the answer longer than a head may take."""
    if scope["type"] != "http":
        raise NotImplementedError  # so uvicorn knows that there is no lifespan
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"began ", "more_body": True})
    if scope["path"] == "/slowly":
        await asyncio.sleep(LONGER)
    await send({"type": "http.response.body", "body": b"ended with %d bytes" % size})


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server whose limit for a head is short, and for a body is not."""
    with listening(app, Limits(head_seconds=SHORT)) as place:
        yield place


def connect(address: str) -> socket.socket:
    place = urlsplit(address)
    connection = socket.create_connection((place.hostname, place.port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answers(connection: socket.socket, number: int = 1) -> bytes:
    """Read some answers, of a server that sends them in chunks."""
    found = b""
    while found.count(b"\r\n0\r\n\r\n") < number:
        part = connection.recv(4096)
        assert part, f"closed after {found!r}"
        found += part
    return found


def bytes_of(data: bytes, seconds: float = 0.02) -> Iterator[bytes]:
    """Yield bytes one at a time, slowly."""
    for place in range(len(data)):
        yield data[place : place + 1]
        time.sleep(seconds)


def received_until_closed(connection: socket.socket, pieces: Iterable[bytes]) -> bytes:
    """Send pieces until the other side closes the connection; return what it said. Raises if it never does."""
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            connection.sendall(piece)
        raise AssertionError("all pieces were taken")
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(4096):
            found += part
    return found


def test_a_connection_without_a_request_is_closed(address: str) -> None:
    with connect(address) as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "begun", [b"GET /", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Name: "]
)
def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(address: str, begun: bytes) -> None:
    """In the request line, in a name, and in a value: however often a byte comes, the time is that of all of it."""
    with connect(address) as connection:
        connection.sendall(begun)
        assert received_until_closed(connection, bytes_of(b"A" * 1000)) == b""


def test_a_head_that_is_never_finished_is_not_waited_for(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(GET[:-2])
        assert connection.recv(1) == b""


def test_a_slow_head_within_the_limit_is_answered() -> None:
    with listening(app, Limits(head_seconds=20)) as address, connect(address) as connection:
        for piece in bytes_of(GET):
            connection.sendall(piece)
        assert b"200 OK" in read_answers(connection)


def test_the_head_of_a_later_request_has_the_same_limit(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(GET)
        read_answers(connection)
        assert received_until_closed(connection, bytes_of(b"GET /" + b"A" * 1000)) == b""


def test_a_connection_between_two_requests_is_kept(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(GET)
        assert b"ended with 0 bytes" in read_answers(connection)
        time.sleep(LONGER)
        connection.sendall(GET)
        assert b"ended with 0 bytes" in read_answers(connection)


def test_an_answer_may_take_longer_than_a_head(address: str) -> None:
    """Also when the client sends a part of its next request during the answer."""
    with connect(address) as connection:
        connection.sendall(GET_SLOWLY)
        time.sleep(SHORT / 3)
        connection.sendall(GET[:9])
        assert b"ended with 0 bytes" in read_answers(connection)
        connection.sendall(GET[9:])
        assert b"ended with 0 bytes" in read_answers(connection)


def test_requests_that_are_sent_together_are_all_answered(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(GET_SLOWLY + GET + GET_SLOWLY + GET[:9])
        assert read_answers(connection, 3).count(b"ended with 0 bytes") == 3
        connection.sendall(GET[9:])
        assert b"ended with 0 bytes" in read_answers(connection)
        assert received_until_closed(connection, bytes_of(b"GET /" + b"A" * 1000)) == b""


def test_a_body_may_take_longer_than_a_head(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(POST % 10)
        for piece in bytes_of(b"A" * 10, LONGER / 10):
            connection.sendall(piece)
        assert b"ended with 10 bytes" in read_answers(connection)


def test_a_body_that_comes_a_byte_at_a_time_is_refused_and_ended() -> None:
    """The refusal leaves the rest of the body to come; who goes on with it slowly has no longer than for a head."""
    limits = Limits(head_seconds=SHORT, body_seconds=SHORT)
    guarded = Guard(app, limits, None, None)
    with listening(guarded, limits) as address, connect(address) as connection:
        connection.sendall(POST % 100_000)
        connection.settimeout(0.02)
        found = b""
        while b"took longer than 0.5 seconds" not in found:
            connection.sendall(b"A")
            try:
                found += connection.recv(4096)
            except TimeoutError:
                continue
        assert found.startswith(b"HTTP/1.1 408 ")
        connection.settimeout(30)
        assert received_until_closed(connection, bytes_of(b"A" * 1000)) == b""


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """Send events for ever, as a text may for minutes."""
    if scope["type"] != "http":
        raise NotImplementedError

    async def events() -> AsyncGenerator[bytes, None]:
        while True:
            await asyncio.sleep(0)
            yield b"data: " + b"x" * 10_000 + b"\n\n"

    await EventStream(events(), seconds=2 * LONGER)(scope, receive, send)


def test_a_client_that_never_reads_is_let_go() -> None:
    """Closing waited for all that was not sent yet, so the connection lasted as long as the client wished."""
    with listening(endless, Limits(send_seconds=SHORT)) as address, connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(GET)
        with pytest.raises(ConnectionError):  # a client that writes notices the end without reading
            write_for(connection, 60)


def write_for(connection: socket.socket, seconds: float) -> None:
    """Send empty lines for some time."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        connection.sendall(b"\r\n")
        time.sleep(0.1)


def test_a_client_that_reads_now_and_then_is_not() -> None:
    with listening(endless, Limits(send_seconds=LONGER)) as address, connect(address) as connection:
        connection.sendall(GET)
        read, began = 0, time.monotonic()
        while time.monotonic() - began < 1.8 * LONGER:
            read += len(connection.recv(2**20))
            time.sleep(SHORT / 5)
        assert read > 2**20
