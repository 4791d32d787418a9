"""The thread that writes: what goes wrong in it reaches those who wait, and it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from glassgpt.errors import GenerationError, ModelError
from glassgpt.generation.requests import Request
from glassgpt.generation.text import TextEvent
from glassgpt.serving.worker import Worker


class Scripted:
    """A writer whose requests end after as many tokens as their first id says; -1 breaks it, -2 is refused."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}
        self._count = 0
        self.cancelled: list[int] = []

    def add(self, request: Request, *, stop: Sequence[str] = ()) -> int:
        if request.ids[0] == -2:
            raise GenerationError("refused")
        self._count += 1
        self._left[self._count] = request.ids[0]
        return self._count

    def cancel(self, number: int) -> None:
        self.cancelled.append(number)
        del self._left[number]

    @property
    def busy(self) -> bool:
        return bool(self._left)

    def step(self) -> list[TextEvent]:
        if -1 in self._left.values():
            raise ModelError("broken")
        events = []
        for number in list(self._left):
            self._left[number] -= 1
            finished = "" if self._left[number] > 0 else "length"
            events.append(TextEvent(number, "x", finished, written=1))
            if finished:
                del self._left[number]
        return events


def asked(*lengths: int) -> list[Request]:
    return [Request([length]) for length in lengths]


def with_worker(work: Callable[[Worker, list[Scripted]], Awaitable[None]]) -> None:
    async def run() -> None:
        made: list[Scripted] = []

        def make() -> Any:
            made.append(Scripted())
            return made[-1]

        worker = Worker(make, name="test")
        await work(worker, made)
        worker.close()
        worker.join(5)
        assert not worker.is_alive

    asyncio.run(run())


async def texts(worker: Worker, *lengths: int) -> list[str]:
    found = [""] * len(lengths)
    async with worker.writing(asked(*lengths)) as inbox:
        async for events in inbox:
            for place, event in events:
                found[place] += event.text
    return found


def test_each_gets_its_own_and_all_of_it() -> None:
    async def work(worker: Worker, made: list[Scripted]) -> None:
        assert await texts(worker, 3, 1, 500) == ["xxx", "x", "x" * 500]
        many = await asyncio.gather(*(texts(worker, number) for number in range(1, 40)))
        assert many == [["x" * number] for number in range(1, 40)]
        assert made[0].cancelled == []

    with_worker(work)


def test_who_leaves_is_cancelled_and_the_others_go_on() -> None:
    async def work(worker: Worker, made: list[Scripted]) -> None:
        async with worker.writing(asked(10**9, 2), streamed=True) as inbox:
            async for _ in inbox:
                break
        assert await worker.call(lambda: made[0].busy) is False
        assert made[0].cancelled == [1] or made[0].cancelled == [1, 2]
        assert await texts(worker, 2) == ["xx"]

    with_worker(work)


def test_a_request_that_is_refused_takes_those_beside_it_along() -> None:
    async def work(worker: Worker, made: list[Scripted]) -> None:
        with pytest.raises(GenerationError, match="refused"):
            await texts(worker, 10**9, -2)
        assert await worker.call(lambda: made[0].busy) is False
        assert await texts(worker, 2) == ["xx"]

    with_worker(work)


def test_a_writer_that_breaks_is_replaced_and_all_who_wait_are_told() -> None:
    async def work(worker: Worker, made: list[Scripted]) -> None:
        waiting = asyncio.ensure_future(texts(worker, 10**9))
        await worker.call(lambda: None)
        with pytest.raises(ModelError, match="broken"):
            await texts(worker, -1)
        with pytest.raises(ModelError, match="broken"):
            await waiting
        assert len(made) == 2
        assert await texts(worker, 2) == ["xx"]

    with_worker(work)


def test_what_is_called_returns_or_raises() -> None:
    async def work(worker: Worker, made: list[Scripted]) -> None:
        assert await worker.call(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await worker.call(divmod, 7, 0)

    with_worker(work)
