"""Bits per byte of any model on any text, measured the same way for all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.inference_mode()
def bits_per_byte(model: nn.Module, ids: Sequence[int], text_bytes: int, context: int) -> float:
    """Return the bits a model needs per byte of a text, over all its windows of `context` tokens.

    `ids` is the whole text encoded; windows do not overlap, and every prediction counts.
    """
    model.eval()
    row = torch.tensor(ids)
    windows = (len(row) - 1) // context
    nats = sum(_nats(model, row, index * context, context) for index in range(windows))
    share = windows * context / len(row)  # of the text that the windows cover
    return nats / math.log(2) / (text_bytes * share)


def _nats(model: nn.Module, row: Tensor, start: int, context: int) -> float:
    inputs, targets = row[None, start : start + context], row[start + 1 : start + context + 1]
    return F.cross_entropy(model(inputs)[0], targets, reduction="sum").item()
