"""Attention over given queries, keys and values: one function, several forms of the same arithmetic.

    weights = softmax(q k^T / sqrt(D) + mask)        out = weights v         (Vaswani et al., 2017, equation 1)

`attend` is the only place in the model where queries meet keys. All forms give the same numbers up to rounding:

    fused       one kernel that never stores the weights; used by training and generation
    explicit    each product written out; its weights can be inspected (`attention_weights`)

`attention.using` chooses another form for a model, or for some of its layers, at run time: a faster kernel, one that
shows its weights (`points`), one that leaves a head out. A form is any function with the signature of those here.

Legend: B batch, H query heads, K key/value heads (H is a multiple of K), T queries, S keys, D head width.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from glassgpt.registry import Registry


@runtime_checkable
class Form(Protocol):
    """How attention is computed. `mask` is bool (True: visible) or is added to the scores; (..., T, S).

    Without a mask and with `causal`, query t sees the keys 0 to t, and T = S; without both it sees all keys.
    """

    def __call__(
        self,
        q_BHTD: Tensor,
        k_BKSD: Tensor,
        v_BKSD: Tensor,
        mask: Tensor | None,
        *,
        causal: bool,
        dropout: float,
    ) -> Tensor:
        """Return the mixed values, (B, H, T, D)."""
        ...


def fused(
    q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, mask: Tensor | None, *, causal: bool, dropout: float
) -> Tensor:
    """Let `scaled_dot_product_attention` choose the fastest kernel on this machine."""
    return F.scaled_dot_product_attention(
        q_BHTD,
        k_BKSD,
        v_BKSD,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=causal,
        enable_gqa=q_BHTD.shape[1] != k_BKSD.shape[1],
    )


def explicit(
    q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, mask: Tensor | None, *, causal: bool, dropout: float
) -> Tensor:
    """Compute the weights, then the mixture; slower, and B H T S numbers are in memory."""
    weights_BHTS = attention_weights(q_BHTD, k_BKSD, mask, causal=causal)
    return mix(F.dropout(weights_BHTS, dropout), v_BKSD)


def attention_weights(
    q_BHTD: Tensor, k_BKSD: Tensor, mask: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    """Return how much each query attends to each key: (B, H, T, S), each row a distribution."""
    k_BHSD = _for_each_query_head(k_BKSD, q_BHTD.shape[1])
    scores_BHTS = q_BHTD @ k_BHSD.mT / math.sqrt(q_BHTD.shape[-1])
    if causal:
        mask = causal_mask(q_BHTD.shape[2], k_BKSD.shape[2], q_BHTD.device)
    if mask is not None and mask.dtype == torch.bool:
        scores_BHTS = scores_BHTS.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores_BHTS = scores_BHTS + mask
    return scores_BHTS.softmax(-1)


def mix(weights_BHTS: Tensor, v_BKSD: Tensor) -> Tensor:
    """Return the values mixed by the weights, (B, H, T, D)."""
    return weights_BHTS @ _for_each_query_head(v_BKSD, weights_BHTS.shape[1])


def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """Return which keys each query sees, (T, S) of bool, when the queries are the last T of the S tokens."""
    seen = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return seen.tril(diagonal=keys - queries)


def attend(
    q_BHTD: Tensor,
    k_BKSD: Tensor,
    v_BKSD: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    form: Form = fused,
) -> Tensor:
    """Return the values mixed for each query, (B, H, T, D).

    Without a mask attention is causal: the queries belong to the last T of the S tokens, and each sees the tokens up
    to its own. Query head h reads key/value head h // (H / K).
    """
    queries, keys = q_BHTD.shape[2], k_BKSD.shape[2]
    if mask is None and 1 < queries < keys:
        mask = causal_mask(queries, keys, q_BHTD.device)
    return form(q_BHTD, k_BKSD, v_BKSD, mask, causal=mask is None and queries > 1, dropout=dropout)


FORMS = Registry("attention_forms", Form, {"fused": fused, "explicit": explicit})
"""The forms that are written here, and those that a script adds."""


def _for_each_query_head(x_BKSD: Tensor, heads: int) -> Tensor:
    """Repeat each key/value head for the query heads that read it: (B, H, S, D)."""
    times = heads // x_BKSD.shape[1]
    return x_BKSD if times == 1 else x_BKSD.repeat_interleave(times, dim=1)
