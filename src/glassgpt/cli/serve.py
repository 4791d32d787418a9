"""`glassgpt serve`: runs over HTTP, for every program that knows OpenAI's interface."""

from __future__ import annotations

import os
from typing import Literal

from glassgpt.errors import require

API_KEY = "GLASSGPT_API_KEY"


def serve(
    *runs: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    allow_origin: tuple[str, ...] = (),
    max_tokens: int = 16_384,
    queue: int = 1024,
    seconds: float = 600.0,
    drain_seconds: float = 30.0,
    weights: Literal["as-saved", "bfloat16", "int8", "auto"] = "as-saved",
    device: str = "auto",
) -> None:
    """Serve runs over HTTP. Any program that can talk to OpenAI can then talk to them.

    Without a name the latest run is served. Each is loaded when it is first asked for.

    Args:
        runs: Runs by name or path, or patterns in quotes such as 'tale-*'.
        host: The address to serve at. Others than this machine's own need a key.
        port: The port to serve at; 0 takes a free one.
        api_key: The key that clients must send. Better set GLASSGPT_API_KEY, which other users cannot see.
        allow_origin: A web page that may use the server, such as http://localhost:3000.
        max_tokens: The most tokens that one request may ask for.
        queue: The most texts that are written or waiting at once; more are refused with the status 429.
        seconds: The longest time that an answer may take.
        drain_seconds: How long running answers may go on after SIGTERM or Ctrl-C.
        weights: int8 stores the weights in 8 bits, bfloat16 in 16: less memory, and a large model writes faster. auto
            takes what this machine writes fastest with; it is measured once.
        device: auto, cpu, cuda or mps.
    """
    for module in ("fastapi", "uvicorn", "prometheus_client", "swagger_ui_bundle"):
        require(module, extra="serve", purpose="serve runs over HTTP")
    from glassgpt.runs.listing import matching
    from glassgpt.serving.limits import Limits
    from glassgpt.serving.server import address_of, bound_socket, hosts_of, refuse_unsafe

    limits = Limits(max_tokens=max_tokens, queue=queue, seconds=seconds, drain_seconds=drain_seconds)
    api_key = os.environ.get(API_KEY) if api_key is None else api_key
    refuse_unsafe(host, api_key, allow_origin)
    directories = matching(runs or ("latest",))
    with bound_socket(
        host, port, directories[0].handle
    ) as bound:  # before torch is imported: it takes seconds
        from glassgpt.device import pick_device
        from glassgpt.serving.app import create_app
        from glassgpt.serving.models import Models
        from glassgpt.serving.server import Server

        models = Models(directories, device=pick_device(device), weights=weights)
        app = create_app(models, limits, api_key=api_key, origins=allow_origin, hosts=hosts_of(host, api_key))
        _log_to_terminal()
        Server(app, limits, ready=lambda: _say(models.names, address_of(bound))).run([bound])


def _log_to_terminal() -> None:
    """Print what the server logs: why a run cannot be opened, what failed. Names in it may hold any character."""
    import logging

    from glassgpt.cli.terminal import visible
    from glassgpt.serving.errors import LOG

    class Shown(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return visible(super().format(record), lines=True)

    handler = logging.StreamHandler()
    handler.setFormatter(Shown("%(asctime)s %(message)s", "%H:%M:%S"))
    LOG.addHandler(handler)
    LOG.propagate = False


def _say(names: list[str], address: str) -> None:
    from glassgpt.cli.terminal import make_console, say

    console = make_console(stderr=True, lasting=True)
    say(console, f"Serving {', '.join(names)} at {address}/v1. Try it in a browser: {address}/docs")
    say(console, "Ctrl-C ends the server.", style="dim")
