"""The key-value cache: keys and values that attention computed for earlier tokens, kept for the next one.

With the cache a new token costs one row of work instead of the whole text again. All memory is allocated
at the start, so generation never grows or copies it. The cache is an argument of the model, never a part
of it, and carries no gradient. It keeps every token's keys even when they leave a sliding window.

`KVCache` takes any number of tokens at a time, at the same places in all rows: a prompt. `RowCache` is a
view of one for a decode step: one token for each row, where the rows' texts may differ in length.

Legend: L layers, B batch, K key/value heads, T new tokens, S cached and new tokens, D head width.
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
        """Number of tokens held: those of all completed forward passes."""

    def update(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values after the held ones; return views of all, (B, K, S, D).

        Only `advance` changes `length`, once every layer has written. Raises `ModelError` when the tokens
        do not fit, or when the batch has another number of rows than the cache.
        """
        self._check_room(k_BKTD)
        end = self.length + k_BKTD.shape[2]
        keys_BKSD = self.keys_LBKSD[layer, :, :, :end]
        values_BKSD = self.values_LBKSD[layer, :, :, :end]
        keys_BKSD[:, :, self.length :] = k_BKTD.detach()
        values_BKSD[:, :, self.length :] = v_BKTD.detach()
        return keys_BKSD, values_BKSD

    def advance(self, n: int) -> None:
        """Count `n` more tokens, which every layer has now written."""
        self.length += n

    def truncate(self, n: int) -> None:
        """Keep the first `n` tokens and forget the later ones."""
        if not 0 <= n <= self.length:
            raise ModelError(f"A cache of {self.length} tokens cannot be cut to {n}.")
        self.length = n

    def clear(self) -> None:
        """Forget all tokens; the memory stays."""
        self.length = 0

    def put(self, rows: list[int], source: KVCache, source_rows: list[int]) -> None:
        """Copy the contents of rows of another cache into these rows, from the first place on."""
        held = source.length
        self.keys_LBKSD[:, rows, :, :held] = source.keys_LBKSD[:, source_rows, :, :held]
        self.values_LBKSD[:, rows, :, :held] = source.values_LBKSD[:, source_rows, :, :held]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` over those of row `target`."""
        for held_LBKSD in (self.keys_LBKSD, self.values_LBKSD):
            held_LBKSD[:, target, :, :length] = held_LBKSD[:, source, :, :length]

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


class RowCache:
    """A view of a `KVCache` for one decode step: its first rows, each about to get one more token.

    `places_B` says where each row's token goes, `slots_S` numbers the places that attention reads.
    """

    def __init__(self, keys_LBKSD: Tensor, values_LBKSD: Tensor, places_B: Tensor, slots_S: Tensor) -> None:
        self.keys_LBKSD = keys_LBKSD
        self.values_LBKSD = values_LBKSD
        self.places_B = places_B
        self.slots_S = slots_S
        # Where the new token's vectors go when a layer is viewed as one long list of head vectors.
        _, _, heads, capacity, _ = keys_LBKSD.shape
        lists_BK = torch.arange(places_B.shape[0] * heads, device=places_B.device).unflatten(0, (-1, heads))
        self.targets = (lists_BK * capacity + places_B.unsqueeze(-1)).flatten()

    def update(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's keys and values of one token per row; return views of all, (B, K, S, D)."""
        return self._write(self.keys_LBKSD[layer], k_BKTD), self._write(self.values_LBKSD[layer], v_BKTD)

    def _write(self, held_BKSD: Tensor, new_BKTD: Tensor) -> Tensor:
        held_BKSD.flatten(0, 2).index_copy_(0, self.targets, new_BKTD.flatten(0, 2))
        return held_BKSD[: self.places_B.shape[0], :, : self.slots_S.shape[0]]
