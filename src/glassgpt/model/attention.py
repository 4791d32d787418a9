"""Causal self-attention: each token attends to the tokens that are visible to it.

One projection makes queries, keys and values; `attend` mixes the values. `ladder` builds the same computation step
by step; a test shows that both are equal.

Legend: B batch, T new tokens, S cached and new tokens together, C = n_embd,
H query heads, K key/value heads, D = width of a head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from glassgpt.errors import ModelError
from glassgpt.model.attend import FORMS, Form, attend, attention_weights, fused
from glassgpt.model.cache import KVCache, RowCache
from glassgpt.model.config import ModelConfig, require_known
from glassgpt.model.layers import RMSNorm
from glassgpt.model.positions import Rotation, rotate

SEEN = ("full", "sliding", "strided")
"""The attention patterns that are implemented here."""


def visible(config: ModelConfig, queries_T: Tensor, keys_S: Tensor) -> Tensor:
    """Return which keys each query may see, from the positions of both: (T, S) of bool.

    full: every earlier token and the token itself. sliding: the nearest `window` of them. strided: those,
    and every token a multiple of `stride` back. Strided joins the two patterns of Child et al. (2019,
    "Sparse Transformers", section 4.2) in each head, so that any token is two steps away.
    """
    require_known(config, "model/attention.py", attention=SEEN)
    distance_TS = queries_T.unsqueeze(-1) - keys_S
    seen_TS = distance_TS >= 0
    if config.attention == "full":
        return seen_TS
    near_TS = distance_TS < config.local_window
    if config.attention == "strided":
        near_TS = near_TS | (distance_TS % (config.stride or 1) == 0)
    return seen_TS & near_TS


def attention_mask(config: ModelConfig, held: int, new: int, device: torch.device) -> Tensor | None:
    """Return which tokens see which when `new` tokens follow `held` cached ones, (T, S), or None.

    None means that no mask is needed: attention is plainly causal, or a single token sees everything. Both have a
    fast path.
    """
    total = held + new
    reaches_all = config.attention == "full" or total <= config.local_window
    if reaches_all and (held == 0 or new == 1):
        return None
    keys_S = torch.arange(total, device=device)
    return visible(config, keys_S[held:], keys_S)


def segments_mask(config: ModelConfig, segments_BT: Tensor) -> Tensor:
    """Return which tokens see which when rows hold several texts, each a segment: (B, 1, T, T) of bool."""
    places_T = torch.arange(segments_BT.shape[1], device=segments_BT.device)
    same_BTT = segments_BT.unsqueeze(-1) == segments_BT.unsqueeze(-2)
    return (same_BTT & visible(config, places_T, places_T)).unsqueeze(1)


def step_mask(config: ModelConfig, cache: RowCache) -> Tensor:
    """Return what is added to the attention logits of a decode step, 0 or -inf: (B, 1, 1, S), for all heads."""
    seen_B1S = visible(config, cache.places_B.unsqueeze(-1), cache.slots_S)
    unseen = torch.full((), float("-inf"), dtype=cache.keys_LBKSD.dtype, device=seen_B1S.device)
    return torch.where(seen_B1S, torch.zeros_like(unseen), unseen).unsqueeze(1)


class Attention(nn.Module):
    """Multi-head causal attention, with grouped key/value heads if the config says so."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        require_known(config, "model/attention.py", attention=SEEN)
        self.config = config
        self.layer = layer
        self.form: Form = fused
        """How attention is computed; see `using`."""
        heads = config.n_head + 2 * config.kv_heads
        self.qkv = nn.Linear(config.n_embd, heads * config.head_dim, bias=config.qkv_bias)
        self.output = nn.Linear(config.attention_width, config.n_embd, bias=config.attention_bias)
        if config.qk_norm:
            self.query_norm = RMSNorm(config.head_dim, config.norm_epsilon)
            self.key_norm = RMSNorm(config.head_dim, config.norm_epsilon)

    def forward(
        self,
        x_BTC: Tensor,
        *,
        rotation: Rotation | None = None,
        mask_TS: Tensor | None = None,
        cache: KVCache | RowCache | None = None,
    ) -> Tensor:
        """Map (B, T, C) to (B, T, C), given the rotary tables and the mask of these positions.

        A model computes both once for all its layers. Raises `ModelError` when one that the config needs is missing.
        """
        self._require_rotation(rotation)
        q_BHTD, k_BKTD, v_BKTD = self.project(x_BTC, rotation)
        if cache is not None:
            k_BKTD, v_BKTD = cache.update(self.layer, k_BKTD, v_BKTD)
        self._require_mask(mask_TS, k_BKTD)
        dropout = self.config.dropout if self.training else 0.0
        mixed_BHTD = attend(q_BHTD, k_BKTD, v_BKTD, mask_TS, dropout=dropout, form=self.form)
        mixed_BTC = mixed_BHTD.transpose(1, 2).flatten(2)
        return self.output(mixed_BTC)

    def weights(
        self, x_BTC: Tensor, *, rotation: Rotation | None = None, mask_TS: Tensor | None = None
    ) -> Tensor:
        """Return how much each token attends to each: (B, H, T, T), each row a distribution.

        Raises `ModelError` as `forward` does. `points.looking` shows the weights inside a whole model.
        """
        self._require_rotation(rotation)
        q_BHTD, k_BKTD, _ = self.project(x_BTC, rotation)
        self._require_mask(mask_TS, k_BKTD)
        return attention_weights(q_BHTD, k_BKTD, mask_TS, causal=mask_TS is None)

    def project(self, x_BTC: Tensor, rotation: Rotation | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, H, T, D), keys and values (B, K, T, D), normed and rotated where the config says so."""
        heads, kv_heads = self.config.n_head, self.config.kv_heads
        qkv_BTHD = self.qkv(x_BTC).unflatten(-1, (-1, self.config.head_dim))
        q_BTHD, k_BTKD, v_BTKD = qkv_BTHD.split((heads, kv_heads, kv_heads), dim=2)
        if self.config.qk_norm:
            q_BTHD, k_BTKD = self.query_norm(q_BTHD), self.key_norm(k_BTKD)
        q_BHTD, k_BKTD, v_BKTD = (part.transpose(1, 2) for part in (q_BTHD, k_BTKD, v_BTKD))
        if rotation is not None:
            q_BHTD, k_BKTD = rotate(q_BHTD, rotation), rotate(k_BKTD, rotation)
        return q_BHTD, k_BKTD, v_BKTD

    def _require_rotation(self, rotation: Rotation | None) -> None:
        if rotation is None and self.config.positions == "rotary":
            raise ModelError(
                "Attention with rotary positions needs their tables, which a GPT computes for its layers. Pass "
                "rotation=rotation(torch.arange(T), rope_frequencies(config)), both from glassgpt.model.positions, or "
                "build it with positions='none'."
            )

    def _require_mask(self, mask_TS: Tensor | None, k_BKSD: Tensor) -> None:
        full = self.config.attention == "full"
        if mask_TS is None and not full and k_BKSD.shape[2] > self.config.local_window:
            raise ModelError(
                f"Attention of the kind {self.config.attention!r} over more tokens than its window of "
                f"{self.config.local_window} needs a mask, which a GPT computes for its layers. Pass "
                "mask_TS=attention_mask(config, 0, T, x.device), from glassgpt.model.attention."
            )


@contextlib.contextmanager
def using(model: nn.Module, form: Form | str, layers: Collection[int] | None = None) -> Iterator[None]:
    """Compute attention with another form during the block, in all layers of `model` or in those given.

    Raises `ConfigError` for an unknown name.
    """
    wanted = FORMS[form] if isinstance(form, str) else form
    chosen = [
        module
        for module in model.modules()
        if isinstance(module, Attention) and (layers is None or module.layer in layers)
    ]
    before = [module.form for module in chosen]
    for module in chosen:
        module.form = wanted
    try:
        yield
    finally:
        for module, old in zip(chosen, before, strict=True):
            module.form = old
