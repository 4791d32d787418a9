"""The next batch is read while the current one is processed, so that an accelerator never waits for data.

Batches are a function of the step, so reading ahead needs no queue and cannot lose its place: one thread makes
the batch of the next step, and any other step (after a resume) is made when it is asked for. On a CPU this
gains nothing, because reading would take time from computing.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from glassgpt.dataset.batches import Batches


class Ahead:
    """The batches of `batches`, with one read ahead into memory from which a GPU can copy directly."""

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
        """Tokens in one batch of this rank."""
        return self._batches.tokens_per_batch

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets (B, T) of batch `step`, and begin to read the next one."""
        foreseen, self._next = self._next, None
        batch = foreseen[1].result() if foreseen and foreseen[0] == step else self._read(step)
        self._next = step + 1, self._reader.submit(self._read, step + 1)
        return batch

    def _read(self, step: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self._batches.at(step)
        return (inputs.pin_memory(), targets.pin_memory()) if self._pin else (inputs, targets)
