"""Which engine writes: torch, or the plain loops (`loops`), which need numba and are compiled once for a machine.

Loading the loops takes half a second, and the very first time some seconds more, because they are compiled; the
result is kept on disk. Nobody waits for that: torch writes, a thread loads, and a batch changes over between two
tokens. So this happens only after `LOAD_AFTER` steps, which a short text never reaches.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from glassgpt.errors import MissingExtraError, require
from glassgpt.generation.decoder import Decoder
from glassgpt.generation.outline import Outline
from glassgpt.model.gpt import GPT

Engine = Literal["auto", "torch", "loops"]
"""auto: the loops once they are loaded and where they compute the model, else torch. loops: wait for them."""
LOAD_AFTER = 256
"""Steps in this process after which loading the loops is begun."""


class Decodes(Protocol):
    """Rows of cached tokens that are filled with texts, and then get one token each in every step."""

    def fill(self, rows: list[int], texts: list[list[int]]) -> Tensor:
        """Replace the contents of rows by these texts; return the logits (B, V) after each."""
        ...

    def step(self, ids: list[int], places: list[int]) -> Tensor:
        """Add one id to each of the first rows, at its place; return the logits (B, V) after it."""
        ...

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the `length` tokens of row `source` to row `target`."""
        ...


@dataclass
class _Loading:
    """How far the loops are in this process."""

    steps: int = 0
    thread: threading.Thread | None = None
    done: bool = False
    failure: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


_LOADING = _Loading()


def has_numba() -> bool:
    """Return whether numba is installed; it is not imported for that."""
    return importlib.util.find_spec("numba") is not None


def begin_loading() -> None:
    """Begin to load the loops in a thread, unless that was begun before."""
    with _LOADING.lock:
        if _LOADING.thread is None and has_numba():
            _LOADING.thread = threading.Thread(target=_load, daemon=True)
            _LOADING.thread.start()


def _load() -> None:
    try:
        from glassgpt.generation import loop_engine

        if not loop_engine.is_compiled():
            # In another process: compiling holds Python's lock, and torch is writing meanwhile. It outlives this one.
            subprocess.run(
                [sys.executable, "-m", loop_engine.__name__],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                start_new_session=True,
            )
        loop_engine.compile_step()
        _LOADING.done = True
    except Exception as error:
        # A library of the system that is too old, a folder that cannot be written: torch goes on writing.
        _LOADING.failure = f"{type(error).__name__}: {error}"


def loops_are_loaded(engine: Engine) -> bool:
    """Return whether the loops can write now. For `loops`, wait for them; raise an error where they cannot be had."""
    if engine == "torch":
        return False
    if engine == "auto":
        _LOADING.steps += 1
        if _LOADING.thread is None and _LOADING.steps > LOAD_AFTER:
            begin_loading()
        return _LOADING.done
    require("numba", extra="fast", purpose="write with the compiled loops")
    begin_loading()
    assert _LOADING.thread is not None
    _LOADING.thread.join()
    if not _LOADING.done:
        raise MissingExtraError(f"The compiled loops cannot be used here: {_LOADING.failure}")
    return True


class Chooser:
    """Chooses the decoder for each step of a batch, and says when it has to be another one."""

    def __init__(self, model: GPT, engine: Engine, *, record_after: int | None) -> None:
        self._model, self._record_after = model, record_after
        self._engine: Engine = engine
        self._decoder: Decodes | None = None
        self.is_loops = False
        """Whether the loops write now."""
        self._outline: Outline | None = None  # of the model that `_suits` is about
        self._suits = False

    def decoder(self, rows: int) -> tuple[Decodes, bool]:
        """Return the decoder for the next step of this many rows, and whether it is a new one, with nothing cached.

        Hooks are not part of the loops, so a model that is looked into is written by torch.
        """
        loops, is_other = False, False
        if loops_are_loaded(self._engine):
            if self._outline is None or not self._outline.is_same():
                from glassgpt.generation.loop_engine import why_not

                self._outline, self._suits = Outline(self._model), why_not(self._model) is None
                is_other = True  # the loops would read weights that are there no more
            loops = self._suits and not self._outline.is_watched()
        if self._decoder is not None and loops == self.is_loops and not (loops and is_other):
            return self._decoder, False
        self.is_loops, self._decoder = loops, self._make(rows, loops)
        return self._decoder, True

    def _make(self, rows: int, loops: bool) -> Decodes:
        if not loops:
            return Decoder(self._model, rows, record_after=self._record_after)
        from glassgpt.generation.loop_engine import LoopDecoder

        return LoopDecoder(self._model, rows)
