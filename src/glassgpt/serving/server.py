"""The server as a process: its address, its key, and its end.

SIGTERM and Ctrl-C stop new requests at once; those that are being answered may finish within a limit.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence

import uvicorn
from fastapi import FastAPI

from glassgpt.commands import command
from glassgpt.errors import AccessError, ConfigError
from glassgpt.serving.limits import Limits
from glassgpt.serving.protocol import protocol_of

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server at an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_unsafe(host: str, api_key: str | None, origins: Sequence[str]) -> None:
    """Raise `ConfigError` for a server that others could use without a key, or any web page."""
    if api_key is not None and not (api_key.strip() == api_key and api_key and api_key.isascii()):
        raise ConfigError("--api-key must be ASCII without spaces around it, and not empty.")
    if api_key is None and not is_loopback(host):
        raise ConfigError(
            f"At {host} other machines could use the server. Give it a key that clients must send (--api-key KEY, or "
            "the variable GLASSGPT_API_KEY), or leave --host out: then only this machine reaches it."
        )
    for origin in origins:
        if (
            not origin.startswith(("http://", "https://"))
            or "*" in origin
            or origin.rstrip("/").count("/") != 2
        ):
            raise ConfigError(
                f"--allow-origin is {origin!r}: name the web page's origin, such as http://localhost:3000."
            )


def hosts_of(host: str, api_key: str | None) -> frozenset[str] | None:
    """Return the names under which a server without a key may be reached; None for any."""
    if api_key is not None:
        return None
    return frozenset((*LOOPBACK_NAMES, host.lower(), f"[{host.lower()}]"))


def bound_socket(host: str, port: int, run: str) -> socket.socket:
    """Return a socket at an address. Raises `AccessError` where it is taken or impossible; `run` is for the advice."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port is {port}: it must be from 0 (a free one) to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise AccessError(
            f"There is no address {host!r} on this machine: {error}. Leave --host out."
        ) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(2048)
    except OSError as error:
        bound.close()
        another = command("serve", run, port=port + 1 if port < 65535 else 8001)
        if error.errno == errno.EADDRINUSE:
            raise AccessError(
                f"Another program uses port {port}, perhaps another `glassgpt serve`. End it, or take another port:  "
                f"{another}"
            ) from error
        raise AccessError(
            f"Port {port} at {host} cannot be used: {error.strerror}. Take another one:  {another}"
        ) from error
    return bound


def address_of(bound: socket.socket) -> str:
    """Return the URL of a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn, which calls `ready` when it takes requests."""

    def __init__(self, app: FastAPI, limits: Limits, ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol_of(limits),
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_keep_alive=75,  # longer than clients keep a connection: they must not use one that closes
                timeout_graceful_shutdown=max(1, round(limits.drain_seconds)),
            )
        )
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests."""
        await super().startup(sockets)
        self._ready()
