"""What the server counts, for Prometheus: texts, tokens, waiting times, refusals. Never a text itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The numbers of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "glassgpt_requests", "Answered requests.", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "glassgpt_request_seconds",
            "Time from a request to the end of its answer.",
            ("path",),
            buckets=SECONDS,
            registry=registry,
        )
        self.first_token = Histogram(
            "glassgpt_first_token_seconds",
            "Time from a request to the first token of its stream.",
            ("model",),
            buckets=SECONDS,
            registry=registry,
        )
        self.read = Counter("glassgpt_prompt_tokens", "Tokens of prompts.", ("model",), registry=registry)
        self.written = Counter("glassgpt_written_tokens", "Tokens written.", ("model",), registry=registry)
        self.cancelled = Counter(
            "glassgpt_cancelled",
            "Requests whose text nobody waited for any more.",
            ("model",),
            registry=registry,
        )
        self.texts = Gauge(
            "glassgpt_texts", "Texts that are being written or waiting.", ("model",), registry=registry
        )
        self.loaded = Gauge("glassgpt_models_loaded", "Runs in memory.", registry=registry)

    @contextlib.contextmanager
    def writing(self, model: str, texts: int, prompt_tokens: int) -> Iterator[None]:
        """Count texts during the block."""
        self.read.labels(model).inc(prompt_tokens)
        self.texts.labels(model).inc(texts)
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.labels(model).inc()
            raise
        finally:
            self.texts.labels(model).dec(texts)

    def page(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)
