"""The next batch is read while this one is computed on, so that an accelerator never waits for data.

Batches are a function of the step, so reading ahead needs no queue and loses no place: one thread makes the
batch that will be asked for next, and a step that was not foreseen (after a resume) is simply made when asked.
On a CPU there is nothing to gain, since reading would take its time from computing.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from glassgpt.dataset.batches import Batches


class Ahead:
    """The batches of `batches`, one read ahead into memory from which a GPU can copy on its own."""

    def __init__(self, batches: Batches, *, pin: bool) -> None:
        self._batches = batches
        self._pin = pin
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[int, Future[tuple[Tensor, Tensor]]] | None = None

    @property
    def steps_per_epoch(self) -> float:
        """Batches in one pass over the data."""
        return self._batches.steps_per_epoch

    @property
    def tokens_per_batch(self) -> int:
        """Tokens of one batch of this rank."""
        return self._batches.tokens_per_batch

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets (B, T) of batch `step`, and begin to read the one after it."""
        foreseen, self._next = self._next, None
        batch = foreseen[1].result() if foreseen and foreseen[0] == step else self._read(step)
        self._next = step + 1, self._reader.submit(self._read, step + 1)
        return batch

    def _read(self, step: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self._batches.at(step)
        return (inputs.pin_memory(), targets.pin_memory()) if self._pin else (inputs, targets)
