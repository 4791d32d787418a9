"""One thread for each loaded run: it owns the run's `Writer`, which is not thread-safe, and writes for all clients.

The event loop hands requests over and gets events back. To tell each token of each of many clients by itself would
take more time than to write it, so the events of several steps travel together: the first and the last ones of a
stream at once, the others so that about `TOLD_IN_A_SECOND` chunks of all streams are told. Who waits for the whole
text is told once, at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from glassgpt.errors import GlassGPTError
from glassgpt.generation.requests import Request
from glassgpt.generation.text import TextEvent, Writer
from glassgpt.serving.errors import LOG

TOLD_IN_A_SECOND = 1000
SHORTEST_WAIT = 0.005
"""Seconds between two chunks of a stream, where there are few: faster than anybody reads."""
Result = TypeVar("Result")


@dataclass(eq=False)
class Inbox:
    """The events of the requests that were submitted together, for the event loop; each with its request's place."""

    unfinished: int
    streamed: bool
    """Whether events are wanted as they come, and not only all together."""
    writing: int = 0
    """The number of requests that the thread has not finished."""
    outgoing: list[tuple[int, TextEvent]] = field(default_factory=list)
    """Events that the thread has not sent yet."""
    due: float = 0.0
    """When the thread sends the next ones."""
    _events: list[tuple[int, TextEvent]] = field(default_factory=list)
    _failure: BaseException | None = None
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aiter__(self) -> AsyncIterator[list[tuple[int, TextEvent]]]:
        """Yield what has come since the last time, until all requests are finished. Raises what went wrong."""
        while self.unfinished:
            await self._came.wait()
            self._came.clear()
            events, self._events = self._events, []
            if self._failure is not None:
                self.unfinished = 0
                raise self._failure
            self.unfinished -= sum(bool(event.finished) for _, event in events)
            yield events

    def put(self, events: Iterable[tuple[int, TextEvent]], failure: BaseException | None = None) -> None:
        """Add events, or what went wrong; called in the event loop."""
        self._events += events
        self._failure = self._failure or failure
        self._came.set()


class Worker:
    """Writes for the clients of one run, in a thread of its own. Used from the event loop that made it."""

    def __init__(self, make_writer: Callable[[], Writer], *, name: str) -> None:
        self._make_writer = make_writer
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._writer = make_writer()
        self._owners: dict[int, tuple[Inbox, int]] = {}
        self._thread = threading.Thread(target=self._work, name=f"writer of {name}", daemon=True)
        self._thread.start()

    @contextlib.asynccontextmanager
    async def writing(
        self, requests: Sequence[Request], stop: Sequence[str] = (), *, streamed: bool = False
    ) -> AsyncIterator[Inbox]:
        """Submit requests, and give their inbox; what is unfinished at the end of the block is cancelled at once."""
        inbox = Inbox(len(requests), streamed)
        self._orders.put(lambda: self._add(inbox, requests, stop))
        try:
            yield inbox
        finally:
            if inbox.unfinished:
                self._orders.put(lambda: self._cancel(inbox))

    async def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what a function returns, called between two steps: it may use the model."""
        answer: asyncio.Future[Result] = self._loop.create_future()

        def carry_out() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:
                self._in_loop(_settle, answer, None, error)
            else:
                self._in_loop(_settle, answer, result, None)

        self._orders.put(carry_out)
        return await answer

    def close(self) -> None:
        """End the thread after its current step. Requests that are unfinished get no more events."""
        self._orders.put(None)

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    # What follows runs in the thread.

    def _work(self) -> None:
        while True:
            for order in self._next_orders():
                if order is None:
                    return
                order()
            if self._writer.busy:
                self._step()

    def _next_orders(self) -> Iterable[Callable[[], None] | None]:
        """Yield the orders that have come; wait for one where there is nothing to write."""
        if not self._writer.busy:
            yield self._orders.get()
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._orders.get_nowait()

    def _add(self, inbox: Inbox, requests: Sequence[Request], stop: Sequence[str]) -> None:
        try:
            for place, request in enumerate(requests):
                self._owners[self._writer.add(request, stop=stop)] = inbox, place
                inbox.writing += 1
        except Exception as error:
            self._cancel(inbox)
            self._in_loop(inbox.put, (), error)

    def _cancel(self, inbox: Inbox) -> None:
        for number in [number for number, (owner, _) in self._owners.items() if owner is inbox]:
            self._writer.cancel(number)
            del self._owners[number]

    def _step(self) -> None:
        try:
            events = self._writer.step()
        except Exception as error:
            self._begin_again(error)
            return
        came: dict[Inbox, None] = {}
        for event in events:
            inbox, place = self._owners[event.index]
            inbox.outgoing.append((place, event))
            came[inbox] = None
            if event.finished:
                del self._owners[event.index]
                inbox.writing -= 1
        now = time.monotonic()
        ready = [inbox for inbox in came if not inbox.writing or (inbox.streamed and now >= inbox.due)]
        if ready:
            wait = max(SHORTEST_WAIT, len(self._owners) / TOLD_IN_A_SECOND)
            outgoing = []
            for inbox in ready:
                outgoing.append((inbox, inbox.outgoing))
                inbox.outgoing, inbox.due = [], now + wait
            self._in_loop(_deliver, outgoing)

    def _begin_again(self, error: Exception) -> None:
        """Go on with a new writer after an error that is not one request's: all that was being written fails."""
        if not isinstance(error, GlassGPTError):
            LOG.error("Writing failed.", exc_info=error)
        inboxes = {inbox for inbox, _ in self._owners.values()}
        self._owners = {}
        try:
            self._writer = self._make_writer()
        finally:
            for inbox in inboxes:
                self._in_loop(inbox.put, (), error)

    def _in_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)


def _deliver(outgoing: Sequence[tuple[Inbox, list[tuple[int, TextEvent]]]]) -> None:
    for inbox, events in outgoing:
        inbox.put(events)


def _settle(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.cancelled():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
