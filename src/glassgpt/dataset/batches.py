"""Batches as a pure function: the batch of a step depends only on (seed, step, rank, world size).

There is no iterator to rewind and no worker whose place could be lost: the state of the data is the step
number, and asking for a step again gives the same batch. There are three orders:

- "random": each row starts at a random offset, as in nanoGPT and most pretraining.
- "windows": rows are the windows [i * stride, i * stride + context_length), each once per epoch in shuffled
  order, as in the data loaders of from-scratch tutorials. Those drop the rest at the end; here the last
  window is moved back to include it.
- "documents": each row starts at the start of a document, each document once per epoch in shuffled order.
  For short documents: a row that starts in the middle of one asks the model for what it cannot know.

Targets are the inputs shifted by one. Shapes: B rows of this rank, T = context length.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from glassgpt.dataset.shards import TokenSplit
from glassgpt.device import World
from glassgpt.errors import ConfigError, DatasetError

Order = Literal["random", "windows", "documents"]


@dataclass(frozen=True)
class Batches:
    """The training batches of one split. `batch_size` counts the rows of all ranks together."""

    split: TokenSplit
    context_length: int
    batch_size: int
    seed: int = 0
    order: Order = "random"
    stride: int | None = None  # for "windows"; None: the context length, so that windows do not overlap
    end_of_text: int | None = None  # for "documents": the id before each document
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        check_length(self.split, self.context_length)
        if self.order == "documents" and not len(self._documents):
            raise DatasetError(
                f"The {self.split.name} split has no document that begins a whole window of {self.context_length} "
                'tokens. Give more text, or use another --training.order than "documents".'
            )
        if self.batch_size % self.world.size:
            raise ConfigError(
                f"training.batch_size {self.batch_size} cannot be shared evenly by {self.world.size} processes. "
                f"Take a multiple of {self.world.size}."
            )

    @property
    def windows(self) -> int:
        """Number of different places where a row can start."""
        if self.order == "documents":
            return len(self._documents)
        stride = self.stride or self.context_length
        places = len(self.split) - self.context_length
        return places if self.order == "random" else 1 + -(-(places - 1) // stride)

    @property
    def tokens_per_batch(self) -> int:
        """Tokens in one batch of this rank."""
        return self.batch_size // self.world.size * self.context_length

    @property
    def steps_per_epoch(self) -> float:
        """Batches in one pass over all windows or documents; for "random", batches with as many tokens as the split."""
        if self.order == "random":
            return len(self.split) / (self.batch_size * self.context_length)
        return self.windows / self.batch_size

    def starts(self, step: int) -> np.ndarray:
        """Return where this rank's rows of batch `step` start: int64 (B,)."""
        if self.order == "random":
            rows = np.random.default_rng((self.seed, step)).integers(0, self.windows, self.batch_size)
        else:
            first = step * self.batch_size
            rows = np.array([self._window(index) for index in range(first, first + self.batch_size)])
        share = self.batch_size // self.world.size
        return rows[self.world.rank * share : (self.world.rank + 1) * share]

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return this rank's inputs and targets of batch `step`: two int64 tensors (B, T)."""
        rows = np.stack([self.split.read(int(start), self.context_length + 1) for start in self.starts(step)])
        ids = torch.from_numpy(rows)
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    @cached_property
    def _documents(self) -> np.ndarray:
        """Starts of whole windows that begin with a document: the `<|endoftext|>` before it. 8 bytes per document."""
        ends = self.split.places_of(-1 if self.end_of_text is None else self.end_of_text)
        return ends[ends < len(self.split) - self.context_length]

    def _window(self, index: int) -> int:
        epoch, place = divmod(index, self.windows)
        place = shuffled(place, self.windows, key=f"{self.seed}/{epoch}")
        if self.order == "documents":
            return int(self._documents[place])
        start = place * (self.stride or self.context_length)
        # The last window may reach past the end; it is moved back, so that every token is used.
        return min(start, len(self.split) - self.context_length - 1)


def evaluation_windows(split: TokenSplit, context_length: int, *, max_tokens: int) -> np.ndarray:
    """Return the starts of fixed, non-overlapping windows spread evenly over a split: int64 (N,).

    They are the same in every evaluation and every run on this data, so that losses can be compared.
    """
    check_length(split, context_length)
    available = (len(split) - 1) // context_length
    wanted = max(1, min(available, max_tokens // context_length))
    return (np.arange(wanted) * available // wanted) * context_length


def document_windows(
    split: TokenSplit, context_length: int, *, end_of_text: int, max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and lengths of fixed windows that hold whole documents: two int64 (N,).

    A window starts at the `<|endoftext|>` before a document and ends with the last document that fits into
    it. So no document is measured without its beginning, and each document counts once. A document longer
    than a window continues in the next one. Tokens before the first `<|endoftext|>` are left out.
    """
    check_length(split, context_length)
    ends = split.places_of(end_of_text)
    starts, lengths = [], []
    position, last = (int(ends[0]), int(ends[-1])) if len(ends) else (0, 0)
    while position < last:
        reach = position + context_length
        fitting = int(ends[np.searchsorted(ends, reach, side="right") - 1])
        stop = fitting if fitting > position else reach
        starts.append(position)
        lengths.append(stop - position)
        position = stop
    if not starts:
        raise DatasetError(
            f"The {split.name} split has no two documents to measure on. Give more text, or use another "
            '--training.order than "documents".'
        )
    wanted = max(1, min(len(starts), max_tokens * len(starts) // sum(lengths)))
    chosen = np.arange(wanted) * len(starts) // wanted
    return np.array(starts)[chosen], np.array(lengths)[chosen]


def check_length(split: TokenSplit, context_length: int) -> None:
    """Raise `DatasetError` unless the split holds at least one window and its shifted targets."""
    if len(split) <= context_length:
        longest = len(split) - 1
        shorter = f", or a smaller --model.context-length (at most {longest} here)" if longest > 0 else ""
        raise DatasetError(
            f"The {split.name} split has {len(split):,} tokens, too few for one window of {context_length} and "
            f"the token after it. Give more text{shorter}."
        )


def shuffled(index: int, size: int, *, key: str) -> int:
    """Return where `index` goes in the permutation of range(size) that `key` selects.

    A four-round Feistel network over the next power of four, applied until the result is inside the range
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", method 2). It gives any place in a
    shuffle of any size in constant memory.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for round_ in range(4):
            digest = hashlib.blake2b(f"{key}/{round_}/{right}".encode(), digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "big") & mask)
        index = (left << half) | right
        if index < size:
            return index
