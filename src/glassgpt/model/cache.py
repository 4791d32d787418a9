"""The key-value cache: what attention already worked out for earlier tokens, kept for the next one.

With it a new token costs one row of work instead of the whole text again. The memory is taken once, in
full, so generation never grows or copies it. The cache is an argument of the model, never a part of it,
and carries no gradient. It keeps every token's keys even where attention slides past them.

Legend: L layers, B batch, K key/value heads, T new tokens, S tokens held with the new ones, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig


class KVCache:
    """Keys and values of up to `capacity` tokens (None: the context length) for each layer and row."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        batch_size: int,
        capacity: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.capacity = config.context_length if capacity is None else capacity
        self.batch_size = batch_size
        if self.capacity < 1 or batch_size < 1:
            raise ModelError(
                f"A cache of {batch_size} rows and {self.capacity} tokens holds nothing: use at least 1 each."
            )
        shape = (config.n_layer, batch_size, config.kv_heads, self.capacity, config.head_dim)
        self.keys_LBKSD = torch.zeros(shape, device=device, dtype=dtype)
        self.values_LBKSD = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0
        """Tokens held: those of all forwards that are over."""

    def update(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values after the held ones; return views of all, (B, K, S, D).

        `length` moves on only by `advance`, when every layer has written. Raises `ModelError` when the
        tokens do not fit, or when their batch is not the cache's.
        """
        self._check_room(k_BKTD)
        end = self.length + k_BKTD.shape[2]
        keys_BKSD = self.keys_LBKSD[layer, :, :, :end]
        values_BKSD = self.values_LBKSD[layer, :, :, :end]
        keys_BKSD[:, :, self.length :] = k_BKTD.detach()
        values_BKSD[:, :, self.length :] = v_BKTD.detach()
        return keys_BKSD, values_BKSD

    def advance(self, n: int) -> None:
        """Count the `n` tokens that every layer has now written."""
        self.length += n

    def truncate(self, n: int) -> None:
        """Keep the first `n` tokens and forget the later ones."""
        if not 0 <= n <= self.length:
            raise ModelError(f"A cache of {self.length} tokens cannot be cut to {n}.")
        self.length = n

    def clear(self) -> None:
        """Forget all tokens; the memory stays."""
        self.length = 0

    def _check_room(self, k_BKTD: Tensor) -> None:
        batch, _, new, _ = k_BKTD.shape
        if batch != self.batch_size:
            raise ModelError(
                f"The batch has {batch} rows and the cache {self.batch_size}: make a cache for that batch."
            )
        if self.length + new > self.capacity:
            raise ModelError(
                f"The cache holds {self.length} of {self.capacity} tokens, so {new} more do not fit. "
                "Make one with a larger capacity, or clear it."
            )
