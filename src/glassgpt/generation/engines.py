"""Which engine writes: torch, or the plain loops (`loops`), which need numba and are compiled once for a machine.

Loading the loops takes a second, and the very first time up to a minute more, because they are compiled; the
result is kept on disk. Nobody waits for that: torch writes, a thread loads, and a batch changes over between two
tokens. So this happens only after `LOAD_AFTER` steps, or half a second, which a short text of a small model never
reaches.
"""

from __future__ import annotations

import atexit
import importlib.util
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from glassgpt.errors import MissingExtraError, require
from glassgpt.generation.decoder import Decoder
from glassgpt.generation.outline import Outline
from glassgpt.model.cache import KVCache
from glassgpt.model.gpt import GPT

Engine = Literal["auto", "steady", "torch", "loops"]
"""auto: the loops once they are loaded and where they compute the model, else torch. steady: the loops where they can
be had, decided before the first token and waited for, so that the same text comes out each time. loops: an error where
they cannot be had."""
WORTH_LOADING = 1024
"""Tokens that a job writes from which waiting for the loops pays."""
LOAD_AFTER = 256
"""Steps in this process after which loading the loops is begun."""
LOAD_AFTER_SECONDS = 0.5
"""The same in seconds since the first of them: steps of a large model are slow."""


class Decodes(Protocol):
    """Rows of cached tokens: texts that were read are put into them, and then each gets one token in every step."""

    @property
    def rows(self) -> int:
        """The number of rows that there is room for."""
        ...

    def put(self, rows: list[int], held: KVCache, sources: list[int]) -> None:
        """Replace the contents of `rows` by those of the rows `sources` of a cache."""
        ...

    def take(self, row: int, length: int) -> KVCache:
        """Return a copy of the first `length` tokens of a row."""
        ...

    def step(self, ids: list[int], places: list[int], threads: int) -> Tensor:
        """Add one id to each of the first rows, at its place, with some threads; return the logits (B, V) after it."""
        ...

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the `length` tokens of row `source` to row `target`."""
        ...

    def grow(self, rows: int) -> None:
        """Make room for `rows` rows."""
        ...


class ReadsAtOnce(Decodes, Protocol):
    """One that also reads texts itself: several of any lengths in one step."""

    def read(self, rows: list[int], texts: list[list[int]], starts: list[int], threads: int) -> Tensor:
        """Add the ids of a text to each of some rows, from its place on; return the logits (B, V) after them."""
        ...


def make_rows(decoder: Decodes, rows: int) -> None:
    """Make room in a decoder for this many rows, and for those that follow."""
    if decoder.rows < rows:
        decoder.grow(max(rows, 2 * decoder.rows))


@dataclass
class _Loading:
    """How far the loops are in this process."""

    steps: int = 0
    began: float = 0.0
    thread: threading.Thread | None = None
    done: bool = False
    failure: str = ""
    ending: threading.Event = field(default_factory=threading.Event)
    """Set when the process ends."""
    lock: threading.Lock = field(default_factory=threading.Lock)


_LOADING = _Loading()


def has_numba() -> bool:
    """Return whether numba is installed; it is not imported for that."""
    return importlib.util.find_spec("numba") is not None


def begin_loading() -> None:
    """Begin to load the loops in a thread, unless that was begun before."""
    with _LOADING.lock:
        if _LOADING.thread is None and has_numba():
            _LOADING.thread = threading.Thread(target=_load, args=(_LOADING,), daemon=True)
            _LOADING.thread.start()


def _load(loading: _Loading) -> None:
    try:
        from glassgpt.generation import loop_engine

        if not loop_engine.is_compiled():
            # In another process: compiling holds Python's lock, and torch is writing meanwhile. It outlives this one.
            compiling = subprocess.Popen(
                [sys.executable, "-m", loop_engine.__name__],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            while compiling.poll() is None:
                if loading.ending.wait(0.05):
                    return
        loading.done = loop_engine.compile_step(until=loading.ending.is_set)
    except Exception as error:
        # A library of the system that is too old, a folder that cannot be written: torch goes on writing.
        loading.failure = f"{type(error).__name__}: {error}"


@atexit.register
def _end_loading() -> None:
    """Let the thread end first: Python ends threads that it finds in a library's code by aborting the process."""
    _LOADING.ending.set()
    if _LOADING.thread is not None:
        _LOADING.thread.join()


def loops_are_loaded(engine: Engine) -> bool:
    """Return whether the loops can write now. For `loops`, wait for them; raise an error where they cannot be had."""
    if engine == "torch":
        return False
    if _LOADING.done:
        return True
    if engine == "auto":
        if not _LOADING.steps:
            _LOADING.began = time.monotonic()
        _LOADING.steps += 1
        late = _LOADING.steps > LOAD_AFTER or time.monotonic() - _LOADING.began > LOAD_AFTER_SECONDS
        if late and _LOADING.thread is None:
            begin_loading()
        return False
    require("numba", extra="fast", purpose="write with the compiled loops")
    begin_loading()
    assert _LOADING.thread is not None
    _LOADING.thread.join()
    if not _LOADING.done:
        raise MissingExtraError(f"The compiled loops cannot be used here: {_LOADING.failure}")
    return True


def steady_for(tokens: int) -> Engine:
    """Return the engine for a job that writes about `tokens` and whose text must be the same every time.

    It depends on the job, never on the moment, so a training that is resumed goes on with the same engine.
    """
    return "steady" if tokens >= WORTH_LOADING else "torch"


def loops_can_be_had(model: GPT) -> bool:
    """Return whether the loops compute this model, here; wait until they are loaded."""
    weight = model.token_embedding.weight
    if not has_numba() or weight.device.type != "cpu" or weight.dtype.itemsize > 4:
        return False  # without loading anything
    try:
        loops_are_loaded("loops")
    except MissingExtraError:
        return False
    from glassgpt.generation.loop_engine import why_not

    return why_not(model) is None


class Chooser:
    """Chooses the decoder for each step, and says when it has to be another one."""

    def __init__(self, model: GPT, engine: Engine) -> None:
        self._model = model
        self._engine: Engine = engine
        self._decoder: Decodes | None = None
        self.is_loops = False
        """Whether the loops write now."""
        self._outline: Outline | None = None  # of the model that `_suits` is about
        self._suits = False
        if engine == "steady":
            self._engine = "loops" if loops_can_be_had(model) else "torch"

    def stay_with_torch(self) -> None:
        """Do not change over to the loops later, where that was left open: they were measured to be slower."""
        if self._engine == "auto" and not self.is_loops:
            self._engine = "torch"

    @property
    def may_be_loops(self) -> bool:
        """Whether the next decoder may be that of the loops; asking begins nothing."""
        return self._engine == "loops" or (self._engine == "auto" and _LOADING.done)

    def decoder(self, rows: int) -> tuple[Decodes, Decodes | None]:
        """Return the decoder for the next step, with room for this many rows, and the one before it.

        The latter is None where the decoder is the same one, or where weights were replaced, so that what is cached
        belongs to others. Hooks are not part of the loops, so a model that is looked into is written by torch.
        """
        loops, is_other = False, False
        if loops_are_loaded(self._engine):
            if self._outline is None or not self._outline.is_same():
                from glassgpt.generation.loop_engine import why_not

                is_other = self._outline is not None  # the loops would read weights that are there no more
                self._outline, self._suits = Outline(self._model), why_not(self._model) is None
            loops = self._suits and not self._outline.is_watched()
        if self._decoder is not None and loops == self.is_loops and not (loops and is_other):
            make_rows(self._decoder, rows)
            return self._decoder, None
        former = None if is_other else self._decoder
        self.is_loops, self._decoder = loops, self._make(rows, loops)
        return self._decoder, former

    def _make(self, rows: int, loops: bool) -> Decodes:
        if not loops:
            return Decoder(self._model, rows)
        from glassgpt.generation.loop_engine import LoopDecoder

        return LoopDecoder(self._model, rows)
