"""Batches from rows in memory: fine-tuning data is small, and every row is used once per epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from glassgpt.corpus.splits import SplitConfig, documents_for_hashing, place_in_order
from glassgpt.dataset.batches import shuffled
from glassgpt.device import World
from glassgpt.errors import ConfigError


@dataclass(frozen=True)
class RowBatches:
    """Batches of some tensors (N, ...), with the rows of each epoch in a different order.

    The batch of a step depends only on (seed, step, rank, world size). The first tensor holds token ids.
    """

    tensors: tuple[Tensor, ...]
    batch_size: int
    seed: int = 0
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        if self.batch_size % self.world.size:
            raise ConfigError(
                f"training.batch_size {self.batch_size} cannot be shared evenly by {self.world.size} processes. "
                f"Take a multiple of {self.world.size}."
            )

    def __len__(self) -> int:
        return len(self.tensors[0])

    @property
    def steps_per_epoch(self) -> float:
        """Batches in one pass over the rows."""
        return len(self) / self.batch_size

    @property
    def tokens_per_batch(self) -> int:
        """Tokens of one batch of this rank."""
        return self.batch_size // self.world.size * math.prod(self.tensors[0].shape[1:])

    def at(self, step: int) -> tuple[Tensor, ...]:
        """Return this rank's rows of batch `step`, from each tensor."""
        share = self.batch_size // self.world.size
        first = step * self.batch_size + self.world.rank * share
        rows = torch.tensor([self._row(index) for index in range(first, first + share)])
        return tuple(tensor[rows] for tensor in self.tensors)

    def _row(self, index: int) -> int:
        epoch, place = divmod(index, len(self))
        return shuffled(place, len(self), key=f"{self.seed}/{epoch}")


def split_rows(
    contents: Sequence[str],
    share: float,
    seed: int,
    *,
    by: Literal["content", "place"] = "content",
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[int], list[int]]:
    """Return the indexes of the training records and of the held-out ones, in order: at least one of each.

    A record's content decides its side, by the hash that also splits documents (`corpus/splits.py`), so copies are on
    the same side, and `say` receives their number. If the records are few, the number held out is exact: those with
    the lowest hashes. "place" is the split of version 0.1.0, by the order of the records; its runs keep it.

    Raises `ConfigError` when there are not two different records.
    """
    if len(set(contents)) < 2:
        raise ConfigError(
            "At least 2 different records are needed: one to learn from, and one to measure on."
            + (f" All {len(contents):,} are copies of one." if len(contents) > 1 else "")
        )
    if by == "place":
        return _by_place(len(contents), share, seed)
    order = {content: place_in_order(content, seed) for content in contents}
    held = {content for content, place in order.items() if place < share}
    few = len(order) < documents_for_hashing(SplitConfig(validation=share))
    if few or not 0 < len(held) < len(order):
        count = max(1, min(len(order) - 1, round(share * len(order))))
        held = set(sorted(order, key=order.__getitem__)[:count])
    if len(order) < len(contents):
        say(
            f"{len(contents) - len(order):,} of {len(contents):,} records are copies of others; copies are either "
            f"all learned from or all held out."
        )
    sides = [content in held for content in contents]
    return [index for index, side in enumerate(sides) if not side], [
        index for index, side in enumerate(sides) if side
    ]


def _by_place(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    held = max(1, min(count - 1, round(share * count)))
    chosen = {shuffled(place, count, key=f"held out/{seed}") for place in range(held)}
    return [index for index in range(count) if index not in chosen], sorted(chosen)
