"""Cross-entropy over a large vocabulary without holding all logits in memory.

The plain way makes logits (N, V), their softmax, and its gradient. With 2,048 tokens and 50,257 words each takes 400
MB, written and read several times. But a row of logits is needed only briefly: its softmax gives the loss, and the
softmax minus 1 at the target *is* the gradient of the logits,

    loss_n = logsumexp(z_n) - z_n[t_n]            z_n = W h_n + b
    d loss_n / d z_n = softmax(z_n) - onehot(t_n)

so both products that need that gradient can be made while a few rows of it are in memory, before the next rows
overwrite them. That makes three matrix products in all, as many as the plain form needs, and none is repeated. The
backward pass only scales. (Liger-Kernel does the same on a GPU: Hsu et al. 2024, section 3.2.)

On a CPU the words, too, are processed one group at a time, so that logits become probabilities while they are in the
processor's cache. The softmax over all words is a mixture of the softmaxes p_g of the groups g, weighted by the
softmax of the groups' logsumexps (as in FlashAttention, Dao et al. 2022, section 3.1, over keys):

    softmax(z) = [ w_1 p_1, w_2 p_2, ... ]        w = softmax(lse_1, lse_2, ...)

Legend: N tokens, C width, V vocabulary; R rows of one chunk; G groups of words, K words of one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from glassgpt.model.logits import CHUNK_BYTES

GROUP_WORDS = {"cpu": 4096}
"""Words of one group on a CPU; on other devices all words are one group."""


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy, in nats, of `targets` under the logits `hidden @ weight.T + bias`.

    hidden (..., C), weight (V, C), bias (V,), targets (...) of int64. All targets count: leave out rows that should
    not. The products run in the dtype of `hidden`, the softmax in float32 at least. Differentiable once.
    """
    rows_NC, targets_N = hidden.flatten(0, -2), targets.flatten()
    loss: Any = _LinearCrossEntropy.apply(rows_NC, weight, bias, targets_N)
    return loss


@torch.no_grad()
def linear_token_losses(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of each target, (...) in float32 at least."""
    rows_NC, targets_N = hidden.flatten(0, -2), targets.flatten()
    losses = torch.empty(targets_N.shape, device=hidden.device, dtype=_softmax_dtype(hidden))
    with torch.autocast(hidden.device.type, enabled=False):
        target_logits_N = _target_logits(rows_NC, weight, bias, targets_N)
        for rows, _, logsumexp_RG in _softmaxes(rows_NC, weight, bias):
            losses[rows] = logsumexp_RG.logsumexp(1) - target_logits_N[rows]
    return losses.view(targets.shape)


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes its gradients in the forward pass and scales them in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, targets_N: Tensor
    ) -> Tensor:
        with torch.autocast(hidden_NC.device.type, enabled=False):
            loss, *gradients = _loss_and_gradients(
                hidden_NC, weight_VC, bias_V, targets_N, wanted=ctx.needs_input_grad[:3]
            )
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (upstream,) = grad_outputs
        return *(None if g is None else g * upstream.to(g.dtype) for g in ctx.saved_tensors), None


def _loss_and_gradients(
    hidden_NC: Tensor,
    weight_VC: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    *,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Return the mean loss and its gradients by hidden, weight and bias, None for those not needed.

    The gradient of a frozen head would be as large as the head and a third of the work.
    """
    dtype, share = hidden_NC.dtype, 1.0 / len(targets_N)
    hidden_grad, weight_grad, bias_grad = (
        torch.zeros_like(tensor) if tensor is not None and asked else None
        for tensor, asked in zip((hidden_NC, weight_VC, bias_V), wanted, strict=True)
    )
    total = -_target_logits(hidden_NC, weight_VC, bias_V, targets_N).sum()
    for rows, softmaxes, logsumexp_RG in _softmaxes(hidden_NC, weight_VC, bias_V):
        total += logsumexp_RG.logsumexp(1).sum()
        mixture_RG = (logsumexp_RG.softmax(1) * share).to(dtype)
        for (words, softmax_RK), w_R1 in zip(softmaxes, mixture_RG.split(1, dim=1), strict=True):
            softmax_RK = softmax_RK.to(dtype)
            if hidden_grad is not None:
                hidden_grad[rows] += w_R1 * (softmax_RK @ weight_VC[words].to(dtype))
            if weight_grad is not None:
                _add_product(weight_grad[words], softmax_RK.T, w_R1 * hidden_NC[rows])
            if bias_grad is not None:
                _add_product(bias_grad[words, None], softmax_RK.T, w_R1)
    # So far this is the softmax; now subtract the 1 at the target.
    if hidden_grad is not None:
        hidden_grad.sub_(weight_VC[targets_N].to(dtype), alpha=share)
    if weight_grad is not None:
        weight_grad.index_add_(0, targets_N, hidden_NC.to(weight_grad.dtype), alpha=-share)
    if bias_grad is not None:
        bias_grad.index_add_(0, targets_N, torch.ones_like(targets_N, dtype=bias_grad.dtype), alpha=-share)
    return total * share, hidden_grad, weight_grad, bias_grad


def _target_logits(hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, targets_N: Tensor) -> Tensor:
    """Return only the logit of each row's target, (N,)."""
    dtype = _softmax_dtype(hidden_NC)
    logits_N = torch.linalg.vecdot(hidden_NC.to(dtype), weight_VC[targets_N].to(dtype))
    return logits_N if bias_V is None else logits_N + bias_V[targets_N]


def _softmaxes(
    hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None
) -> Iterator[tuple[slice, list[tuple[slice, Tensor]], Tensor]]:
    """For each chunk, yield its rows, the softmax over each group of words, and the groups' logsumexps (R, G).

    The next chunk overwrites the softmaxes.
    """
    v, dtype, kind = len(weight_VC), _softmax_dtype(hidden_NC), hidden_NC.device.type
    groups = _slices(v, GROUP_WORDS.get(kind, v))
    chunks = _slices(len(hidden_NC), max(1, CHUNK_BYTES[kind] // (v * dtype.itemsize)))
    memory = torch.empty((chunks[0].stop, v), device=hidden_NC.device, dtype=dtype).flatten()
    for rows in chunks:
        softmaxes, logsumexps = [], []
        for words in groups:
            size = (rows.stop - rows.start, words.stop - words.start)
            into_RK = memory[words.start * size[0] : words.stop * size[0]].view(size)
            bias_K = None if bias_V is None else bias_V[words]
            logsumexps.append(_soften(into_RK, hidden_NC[rows], weight_VC[words], bias_K))
            softmaxes.append((words, into_RK))
        yield rows, softmaxes, torch.cat(logsumexps, dim=1)


def _soften(into_RK: Tensor, hidden_RC: Tensor, weight_KC: Tensor, bias_K: Tensor | None) -> Tensor:
    """Write the softmax over some words into `into_RK`, and return their logsumexp (R, 1).

    The logsumexp follows from the softmax. At the largest logit m the softmax is exp(m - logsumexp), which is at least
    1 / K and so never rounds to zero.
    """
    if hidden_RC.dtype == into_RK.dtype:
        torch.mm(hidden_RC, weight_KC.T, out=into_RK)
    else:
        into_RK.copy_(hidden_RC @ weight_KC.to(hidden_RC.dtype).T)
    if bias_K is not None:
        into_RK += bias_K
    greatest_R1 = into_RK.amax(1, keepdim=True)
    torch.softmax(into_RK, 1, out=into_RK)
    return greatest_R1 - into_RK.amax(1, keepdim=True).log()


def _add_product(to: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to `to`, which may have a higher precision than both."""
    if to.dtype == left.dtype:
        to.addmm_(left, right)
    else:
        to += left @ right


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _softmax_dtype(hidden: Tensor) -> torch.dtype:
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32
