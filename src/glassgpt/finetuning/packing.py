"""Short examples packed into long rows, with little wasted room and no attention between examples.

A row of the context's length holds several examples, each in a separate segment. Attention stays within a segment and
positions restart in each (see `GPT.hidden`), so an example has the same loss in a packed row as alone. Best fit,
longest first: each goes where it leaves the least room (Johnson et al., 1974; for packing text Ding et al., 2024,
"Fewer Truncations Improve Language Modeling").

Legend: N rows, T = context length.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glassgpt.finetuning.examples import IGNORE, Example


@dataclass(frozen=True)
class PackedRows:
    """Inputs, segments and targets, each (N, T) of int64. The remaining room is a segment without targets."""

    inputs: Tensor
    segments: Tensor
    targets: Tensor
    examples: int

    wasted: float
    """Share of the tokens that belong to no example."""


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return groups of indexes; the lengths in a group add up to at most `capacity`. No length may be above it."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    groups: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (room left, group), sorted
    for index in order:
        place = bisect.bisect_left(free, (lengths[index], -1))
        if place == len(free):
            groups.append([index])
            room, group = capacity, len(groups) - 1
        else:
            room, group = free.pop(place)
            groups[group].append(index)
        bisect.insort(free, (room - lengths[index], group))
    return groups


def pack(examples: Sequence[Example], context_length: int) -> PackedRows:
    """Put examples, none longer than the context, into as few rows as best fit makes."""
    groups = best_fit([len(example) for example in examples], context_length)
    shape = (len(groups), context_length)
    inputs, segments = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    targets = np.full(shape, IGNORE, np.int64)
    for row, group in enumerate(groups):
        start = 0
        for number, index in enumerate(group):
            stop = start + len(examples[index])
            inputs[row, start:stop] = examples[index].inputs
            targets[row, start:stop] = examples[index].targets
            segments[row, start:stop] = number
            start = stop
        segments[row, start:] = len(group)
    wasted = 1 - sum(map(len, examples)) / inputs.size
    tensors = (torch.from_numpy(table) for table in (inputs, segments, targets))
    return PackedRows(*tensors, examples=len(examples), wasted=wasted)


def pad(rows: Sequence[np.ndarray], fill: int, length: int | None = None) -> Tensor:
    """Return rows of different lengths as one int64 (N, longest), padded at the right."""
    width = length or max(map(len, rows))
    table = np.full((len(rows), width), fill, np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table)
