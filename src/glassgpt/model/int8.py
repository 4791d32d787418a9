"""Weights in 8 bits: a quarter of the memory and a fraction of the time per token, at a small loss of precision.

Each row of a matrix (one output) has its own scale, symmetric about 0 (Jacob et al., 2018,
"Quantization and Training of Neural Networks", section 2; per channel as in Krishnamoorthi, 2018):

    s_n = max_c |W_nc| / 127        Q_nc = round(W_nc / s_n)        W_nc ~ s_n Q_nc, off by at most s_n / 2

The rounded weights alone make the result different: it is that of a float32 model with the weights s_n Q_nc. With
numba the compiled loops (`generation/loops.py`) write with them as they are stored. A large model waits for memory, and
a quarter of the bytes is read in about a quarter of the time. Torch converts them back, some rows at a time, which
takes as long as float32. Without numba, and where torch has fbgemm (x86), its product in integers is used instead. It
also rounds the inputs of each call, to 7 bits over their common range, so that a row's result depends a little on the
other rows.

Norms, embeddings and attention stay as they are. It is done when a run is opened (see `stored`).

Legend: N outputs, C inputs, `...` any leading axes.
"""

from __future__ import annotations

import importlib.util
import warnings

import torch
from torch import Tensor

from glassgpt.model.gpt import GPT
from glassgpt.model.stored import StoredLinear, replace_linear


def quantize(model: GPT) -> GPT:
    """Replace every linear layer of the model, and the head, with its int8 form; return the same model.

    A tied head becomes a separate matrix; the embedding stays as it is.
    """
    packed = not loops_can_write(model.token_embedding.weight)
    return replace_linear(model, lambda weight_NC, bias_N: Int8Linear(weight_NC, bias_N, packed=packed))


def loops_can_write(like: Tensor) -> bool:
    """Return whether compiled loops can write with int8 weights on a tensor's device, in its dtype."""
    usable = like.device.type == "cpu" and like.dtype == torch.float32
    return usable and importlib.util.find_spec("numba") is not None


def has_integer_kernel(like: Tensor) -> bool:
    """Return whether a tensor's device and dtype have a fast int8 product in this build of torch."""
    x86 = "fbgemm" in torch.backends.quantized.supported_engines
    return x86 and like.device.type == "cpu" and like.dtype == torch.float32


def round_rows(weight_NC: Tensor) -> tuple[Tensor, Tensor]:
    """Return the int8 matrix (N, C) and the scale of each row (N,). A row of zeros has scale 1."""
    scale_N = weight_NC.abs().amax(-1).float() / 127
    scale_N = torch.where(scale_N > 0, scale_N, torch.ones_like(scale_N))
    rounded_NC = (weight_NC.float() / scale_N.unsqueeze(-1)).round().clamp(-127, 127)
    return rounded_NC.to(torch.int8), scale_N


class Int8Linear(StoredLinear):
    """x W^T + b with W in int8."""

    def __init__(self, weight_NC: Tensor, bias_N: Tensor | None, *, packed: bool = False) -> None:
        super().__init__()
        rounded_NC, scale_N = round_rows(weight_NC.detach())
        bias_N = None if bias_N is None else bias_N.detach()
        packed = packed and has_integer_kernel(weight_NC)
        self._packed = _pack(rounded_NC, scale_N, bias_N) if packed else None
        if self._packed is None:
            self.hold(rounded_NC, scale_N.to(weight_NC.dtype), bias_N)

    @property
    def is_packed(self) -> bool:
        """Whether the matrix is held in fbgemm's order."""
        return self._packed is not None

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., N)."""
        if self._packed is not None:
            # With the full range, sums of two products would overflow 16 bits on AVX2.
            return torch.ops.quantized.linear_dynamic(x, self._packed, reduce_range=True)
        return super().forward(x)


def _pack(rounded_NC: Tensor, scale_N: Tensor, bias_N: Tensor | None) -> object | None:
    """Return the matrix in fbgemm's order, the only copy kept; None where torch lacks fbgemm."""
    zeros_N = torch.zeros_like(scale_N, dtype=torch.int64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch may remove this tensor type; then weights are converted
            make = torch._make_per_channel_quantized_tensor  # pyright: ignore[reportPrivateImportUsage]
            quantized_NC = make(rounded_NC, scale_N.double(), zeros_N, 0)
        return torch.ops.quantized.linear_prepack(quantized_NC, bias_N)
    except (AttributeError, RuntimeError):
        return None
