"""The runs that are served, under their names: loaded when first asked for, let go of when memory is needed.

When a run is trained further, it is loaded again: its files are compared with their state at loading. Requests that are
being written finish with the weights that they began with.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import torch

from glassgpt.chat.conversation import template_of
from glassgpt.chat.templates import ChatTemplate
from glassgpt.errors import GlassGPTError, MemoryFullError, RunError, did_you_mean
from glassgpt.files import as_utf8
from glassgpt.generation.text import Writer
from glassgpt.machine.facts import free_memory
from glassgpt.model.forms import form_of
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.opening import Run, Weights, find_base, open_run
from glassgpt.runs.reading import readable_lineage
from glassgpt.serving.errors import LOG, Refused
from glassgpt.serving.worker import Worker

SPARE_MEMORY = 256 * 2**20
"""Bytes that stay free beside a model's weights, for what is written with it."""
PREFIX_MEMORY = 128 * 2**20
"""Bytes of each model's caches that are kept for prompts that begin alike, such as the history of a chat."""
CHECK_SECONDS = 0.2
"""How long it is taken for granted that a run's files have not changed."""
RETRY_SECONDS = 2.0
"""How long a run that could not be opened is not tried again, unless its files change."""
State = tuple[tuple[str, int, int], ...]
"""The files of a run: their paths, sizes and times of change."""


@dataclass(eq=False)
class Loaded:
    """An opened run with its worker. `users` counts the requests that use it now."""

    name: str
    run: Run
    worker: Worker
    template: ChatTemplate | None
    files: State
    users: int = 0
    is_old: bool = False
    """Whether newer weights have taken its place: it ends with its last user."""

    @cached_property
    def fingerprint(self) -> str:
        """A short name of these weights, the `system_fingerprint` of answers."""
        form = form_of(self.run.model)
        return f"fp_{(self.run.lineage.weights_hash or '')[:10]}{'' if form == 'as-saved' else f'_{form}'}"


@dataclass
class Served:
    """A run under its name, loaded or not."""

    name: str
    directory: RunDirectory
    loaded: Loaded | None = None
    used: float = 0.0
    checked: float = 0.0
    """When its files were found to be those that are loaded."""
    failed: tuple[State, float, Exception] | None = None
    """The files with which it could not be opened, when, and why."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Models:
    """The runs of a server. Used from one event loop."""

    def __init__(
        self,
        runs: Sequence[RunDirectory],
        *,
        device: torch.device | None = None,
        weights: Weights = "as-saved",
        free: Callable[[torch.device], int] = free_memory,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._runs: dict[str, Served] = {}
        for run in runs:
            name = as_utf8(run.name)  # of a folder, which may be no valid Unicode
            other = self._runs.get(name)
            if other is not None and other.directory.path.resolve() != run.path.resolve():
                raise RunError(
                    f"Two runs are called {run.name}: {other.directory.path} and {run.path}. Each needs a name of its "
                    "own: rename the folder of one."
                )
            self._runs.setdefault(name, Served(name, run))
        self._device, self._free = device or torch.device("cpu"), free
        self._weights: Weights = weights
        self._check_seconds = check_seconds

    @property
    def names(self) -> list[str]:
        """The names of the runs that are there."""
        return [name for name, served in self._runs.items() if served.directory.config.is_file()]

    @property
    def loaded(self) -> list[Loaded]:
        """The runs in memory."""
        return [served.loaded for served in self._runs.values() if served.loaded is not None]

    def created(self, name: str) -> int:
        """Return when a run was made, in seconds since 1970; 0 where nothing says so."""
        lineage = readable_lineage(self.find(name).directory)
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            return int(datetime.fromisoformat(lineage.created).timestamp())  # pyright: ignore
        return 0

    def find(self, name: str | None) -> Served:
        """Return a run by its name, or the only one. Raises `Refused` naming those that there are."""
        if name is None and len(self._runs) > 1:
            known = ", ".join(self.names)
            raise Refused(400, f"Several runs are served: name one as model ({known}).", param="model")
        name = next(iter(self._runs)) if name is None else name
        served = self._runs.get(name)
        if served is None or not served.directory.config.is_file():
            names = self.names
            gone = "is no longer there" if name in self._runs else "is not served here"
            known = f" Those that are: {', '.join(names)}." if names else ""
            hint = did_you_mean(name[:80], names)
            raise Refused(
                404, f"The model {name[:80]!r} {gone}.{hint}{known}", param="model", code="model_not_found"
            )
        return served

    @contextlib.asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[Loaded]:
        """Give a loaded run for the time of the block. Raises `Refused` when it cannot be had."""
        served = self.find(name)
        served.used = time.monotonic()
        loaded = await self._current(served)
        loaded.users += 1
        try:
            yield loaded
        finally:
            loaded.users -= 1
            served.used = time.monotonic()
            if loaded.is_old and not loaded.users:
                loaded.worker.close()

    async def _current(self, served: Served) -> Loaded:
        """Return a run as its files are now."""
        if served.loaded is not None and self._is_current(served, served.loaded):
            return served.loaded
        async with served.lock:
            before = served.loaded
            if before is not None and self._is_current(served, before):
                return before
            try:
                served.loaded = await self._load_if_it_may_succeed(served)
            except (GlassGPTError, OSError) as error:
                if before is not None and served.directory.config.is_file():
                    return before
                raise self._cannot_open(served.name) from error
            if before is not None:
                self._retire(before)
            return served.loaded

    def _is_current(self, served: Served, loaded: Loaded) -> bool:
        now = time.monotonic()
        if now - served.checked >= self._check_seconds:
            if loaded.files != files_of(served.directory, loaded.run):
                return False
            served.checked = now
        return True

    async def _load_if_it_may_succeed(self, served: Served) -> Loaded:
        """Return a run; raise the last error again at once where nothing has changed since, because trying is work."""
        state, now, failed = files_of(served.directory), time.monotonic(), served.failed
        if failed is not None and failed[0] == state and now - failed[1] < RETRY_SECONDS:
            raise failed[2].with_traceback(None)
        try:
            loaded = await self._load(served)
        except (GlassGPTError, OSError) as error:
            old = "; the weights of before are served" if served.loaded is not None else ""
            LOG.warning("%s cannot be opened%s: %s", served.name, old, error)
            served.failed = state, now, error
            raise
        served.failed = None
        return loaded

    async def _load(self, served: Served) -> Loaded:
        self._make_room(served)
        while True:
            try:
                run, state = await asyncio.to_thread(self._open, served.directory)
                break
            except (MemoryFullError, MemoryError):
                if not self._let_go_of_one(but=served):
                    raise
        template = template_of(run)
        if template is not None:
            template = replace(template, name=f"The chat template of {served.name}")  # not its path

        def make_writer() -> Writer:
            return Writer(run.model, run.tokenizer, engine="auto", prefix_memory=PREFIX_MEMORY)

        worker = Worker(make_writer, name=served.name)
        return Loaded(served.name, run, worker, template, state)

    def _open(self, directory: RunDirectory) -> tuple[Run, State]:
        before = files_of(directory)  # before reading: what changes meanwhile is detected
        run = open_run(str(directory.path), device=self._device, weights=self._weights)
        return run, before + files_of_base(directory, run)

    def _make_room(self, served: Served) -> None:
        """Let go of the runs that were used least lately, until there is memory for another."""
        need = sum(size for _, size, _ in files_of(served.directory)) + SPARE_MEMORY
        while self._free(self._device) < need and self._let_go_of_one(but=served):
            pass

    def _let_go_of_one(self, *, but: Served) -> bool:
        """Remove the run that was used least lately from memory, of those that nobody uses; return whether any was."""
        idle = [
            served
            for served in self._runs.values()
            if served.loaded is not None and not served.loaded.users and served is not but
        ]
        if not idle:
            return False
        oldest = min(idle, key=lambda served: served.used)
        assert oldest.loaded is not None
        self._retire(oldest.loaded)
        oldest.loaded = None
        return True

    def _retire(self, loaded: Loaded) -> None:
        loaded.is_old = True
        if not loaded.users:
            loaded.worker.close()

    def _cannot_open(self, name: str) -> Refused:
        if name not in self.names:
            return Refused(
                404, f"The model {name!r} is no longer there.", param="model", code="model_not_found"
            )
        return Refused(
            503,
            f"The model {name!r} cannot be opened now. The server's log says why.",
            code="model_unavailable",
        )

    async def close(self) -> None:
        """End all workers."""
        for loaded in self.loaded:
            loaded.worker.close()
        for loaded in self.loaded:
            await asyncio.to_thread(loaded.worker.join, 5)


def files_of(directory: RunDirectory, run: Run | None = None) -> State:
    """Return the state of the files that a run is opened from; with an opened run, also of those of its base."""
    files = [
        directory.config, directory.lineage, directory.tokenizer, directory.weights, directory.chat_template,
        directory.adapter / "adapter_model.safetensors", directory.checkpoints,
    ]  # fmt: skip
    state = tuple(_stated(files))
    return state if run is None else state + files_of_base(directory, run)


def files_of_base(directory: RunDirectory, run: Run) -> State:
    """Return the state of the files of an adapter's base; nothing for any other run."""
    if not run.lineage.adapter:
        return ()
    try:
        return files_of(find_base(directory, run.lineage))
    except GlassGPTError:
        return ()


def _stated(paths: Sequence[Path]) -> Iterator[tuple[str, int, int]]:
    for path in paths:
        with contextlib.suppress(OSError):
            found = path.stat()
            yield str(path), found.st_size, found.st_mtime_ns
