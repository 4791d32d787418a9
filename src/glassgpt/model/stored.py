"""Linear layers whose matrix is stored in fewer bits, and converted when it is used.

The compiled loops (`generation/loops.py`) read such a matrix as it is stored. Torch converts it back, some rows at a
time, which takes as long as float32 and needs hardly any memory. This is for inference, not for training or saving.

Legend: N outputs, C inputs, `...` any leading axes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassgpt.model.gpt import GPT

CONVERTED_AT_ONCE = 1 << 20
"""Weights that torch converts at a time: few enough to stay in a CPU's cache until they are multiplied."""


class StoredLinear(nn.Module):
    """x W^T + b, where row n of W is `matrix_NC[n]`, times `scale_N[n]` if there are scales."""

    matrix_NC: Tensor
    scale_N: Tensor | None
    bias_N: Tensor | None

    def hold(self, matrix_NC: Tensor, scale_N: Tensor | None, bias_N: Tensor | None) -> None:
        """Take the numbers over; they are not part of what the model saves."""
        self.register_buffer("matrix_NC", matrix_NC, persistent=False)
        self.register_buffer("scale_N", scale_N, persistent=False)
        self.register_buffer("bias_N", bias_N, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., N)."""
        rows = max(1, CONVERTED_AT_ONCE // self.matrix_NC.shape[1])
        out = torch.cat([F.linear(x, some_KC.to(x.dtype)) for some_KC in self.matrix_NC.split(rows)], -1)
        out = out if self.scale_N is None else out * self.scale_N
        return out if self.bias_N is None else out + self.bias_N


class Bfloat16Linear(StoredLinear):
    """Weights in 16 bits: the upper half of float32, 8 bits of precision and the whole range."""

    def __init__(self, weight_NC: Tensor, bias_N: Tensor | None) -> None:
        super().__init__()
        self.hold(weight_NC.detach().bfloat16(), None, None if bias_N is None else bias_N.detach())


def halve(model: GPT) -> GPT:
    """Round every matrix of the model and the head to bfloat16; return the same model. It goes on in its own dtype."""
    return replace_linear(model, Bfloat16Linear)


def replace_linear(model: GPT, make: Callable[[Tensor, Tensor | None], nn.Module]) -> GPT:
    """Replace every linear layer of the model, and the head, by what is made of its weight and bias.

    A tied head becomes a separate matrix; the embedding stays as it is.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, make(child.weight, child.bias))
    if model.config.tied_head:
        model.head = make(model.token_embedding.weight, None)
    return model.requires_grad_(False)
