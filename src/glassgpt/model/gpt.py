"""The model: token ids in, logits for the next token out.

    ids -> embedding (+ positions) -> n_layer x [ norm, attention, add | norm, MLP, add ] -> norm -> head

A pre-norm decoder-only transformer (Radford et al., 2019) whose parts `ModelConfig` chooses. It only
computes; training, sampling and saving are separate packages that use it.

Names of its weights. They must not change, because files contain them (i counts blocks from 0):

    token_embedding.weight                     (V, C)      also the head, when tied
    position_embedding.weight                  (context_length, C)            learned positions
    blocks.i.attention_norm.weight, .bias      (C,)
    blocks.i.attention.qkv.weight, .bias       ((H + 2K) D, C)   rows: queries, keys, values, head by head
    blocks.i.attention.query_norm.weight, .key_norm.weight       (D,)         QK-norm
    blocks.i.attention.output.weight, .bias    (C, H D)
    blocks.i.mlp_norm.weight, .bias            (C,)
    blocks.i.mlp.gate.weight, .bias            (F, C)      swiglu
    blocks.i.mlp.up.weight, .bias              (F, C)
    blocks.i.mlp.down.weight, .bias            (C, F)
    final_norm.weight, .bias                   (C,)
    head.weight, .bias                         (V, C)      untied

There are no buffers: a model made on the meta device is complete after
`load_state_dict(weights, assign=True)`.

Legend: B batch, T tokens, C = n_embd, V vocabulary, H query heads, K key/value heads, D head width,
F MLP width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glassgpt.errors import ModelError
from glassgpt.model.attention import Attention, attention_mask, segments_mask, step_mask
from glassgpt.model.cache import KVCache, RowCache
from glassgpt.model.config import ModelConfig, require_known
from glassgpt.model.layers import make_mlp, make_norm
from glassgpt.model.positions import Rotation, positions_in, rope_frequencies, rotation, sinusoids


class Block(nn.Module):
    """One layer: attention moves information between tokens, the MLP processes each token; both add to the stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = make_norm(config)
        self.mlp = make_mlp(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BTC: Tensor,
        rotation: Rotation | None = None,
        mask_TS: Tensor | None = None,
        cache: KVCache | RowCache | None = None,
    ) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        attended_BTC = self.attention(
            self.attention_norm(x_BTC), rotation=rotation, mask_TS=mask_TS, cache=cache
        )
        x_BTC = x_BTC + self.dropout(attended_BTC)
        return x_BTC + self.dropout(self.mlp(self.mlp_norm(x_BTC)))


class GPT(nn.Module):
    """A decoder-only language model. Its weights are drawn from torch's global random generator."""

    checkpoint_activations: bool = False
    """Whether training keeps only each block's input and recomputes the rest for the gradient: about a third
    more compute for a fraction of the memory (Chen et al., 2016)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        require_known(config, "model/gpt.py", positions=("learned", "sinusoidal", "rotary", "none"))
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context_length, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.final_norm = make_norm(config)
        self.head: nn.Module | None = None  # a tied head uses the embedding matrix, unless it is replaced
        if not config.tied_head:
            self.head = nn.Linear(config.n_embd, config.vocab_size, bias=config.head_bias)
        initialize(self)

    def forward(
        self,
        ids_BT: Tensor,
        cache: KVCache | None = None,
        *,
        segments_BT: Tensor | None = None,
        then: Callable[[GPT, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return the logits for each next token, (B, T, V), or the result of `then(model, hidden)`.

        A loss is such a `then`: it reads the head's weights inside the forward pass, where hooks on the model see it
        and where weights that are sharded over ranks are whole.
        """
        hidden_BTC = self.hidden(ids_BT, cache, segments_BT)
        return self.logits(hidden_BTC) if then is None else then(self, hidden_BTC)

    def hidden(
        self, ids_BT: Tensor, cache: KVCache | None = None, segments_BT: Tensor | None = None
    ) -> Tensor:
        """Return the input of the head, (B, T, C): the residual stream after the final norm.

        With a cache, `ids_BT` are the tokens that follow the cached ones, and they are added to the cache.
        With segments, a row holds several texts: tokens with the same number are one text, and numbers never fall
        along a row. Texts do not see each other, and each text's positions begin at 0, so that the result for a text
        is the same as when it is alone.
        Raises `ModelError` when cached and new tokens together exceed the context length.
        """
        held = 0 if cache is None else cache.length
        self._check_ids(ids_BT, held)
        if segments_BT is not None:
            assert cache is None
            positions_BT = positions_in(segments_BT)
            mask_B1TT = segments_mask(self.config, segments_BT)
            return self._through_blocks(ids_BT, positions_BT, mask_B1TT, None)
        new = ids_BT.shape[1]
        positions_T = torch.arange(held, held + new, device=ids_BT.device)
        mask_TS = attention_mask(self.config, held, new, ids_BT.device)
        x_BTC = self._through_blocks(ids_BT, positions_T, mask_TS, cache)
        if cache is not None:
            cache.advance(new)
        return x_BTC

    def step(self, ids_B1: Tensor, cache: RowCache) -> Tensor:
        """Return the logits (B, V) after one more token in each row, and add the token to the cache."""
        places_B1 = cache.places_B.unsqueeze(-1)
        hidden_B1C = self._through_blocks(ids_B1, places_B1, step_mask(self.config, cache), cache)
        return self.logits(hidden_B1C[:, 0])

    def _through_blocks(
        self, ids_BT: Tensor, positions: Tensor, mask: Tensor | None, cache: KVCache | RowCache | None
    ) -> Tensor:
        """Return the residual stream after the final norm; positions are (T,), or (B, T) if rows differ."""
        turn = self._rotation(positions)
        x_BTC = self.embed(ids_BT, positions)
        for block in self.blocks:
            if self.checkpoint_activations and self.training and cache is None:
                x_BTC = checkpoint(block, x_BTC, turn, mask, use_reentrant=False)
            else:
                x_BTC = block(x_BTC, turn, mask, cache)
        return self.final_norm(x_BTC)

    def logits(self, hidden: Tensor) -> Tensor:
        """Map (..., C) to (..., V): a score for each token of the vocabulary."""
        if self.head is None:
            return F.linear(hidden, self.token_embedding.weight)
        return self.head(hidden)

    def embed(self, ids_BT: Tensor, positions: Tensor) -> Tensor:
        """Return the vectors that enter the first block, (B, T, C); positions are (T,) or (B, T)."""
        try:
            x_BTC = self.token_embedding(ids_BT)
        except IndexError as error:  # on a CPU; a GPU cannot check without waiting
            raise ModelError(
                f"A token id is outside the model's vocabulary of {self.config.vocab_size}. "
                "Encode the text with the tokenizer that this model was trained with."
            ) from error
        if self.config.positions == "learned":
            x_BTC = x_BTC + self.position_embedding(positions)
        elif self.config.positions == "sinusoidal":
            # Scaled as in Vaswani et al. (2017), section 3.4; otherwise the sinusoids would drown the tokens.
            encoded = sinusoids(positions, self.config.n_embd).type_as(x_BTC)
            x_BTC = x_BTC * math.sqrt(self.config.n_embd) + encoded
        return self.dropout(x_BTC)

    @property
    def head_weight(self) -> Tensor:
        """The matrix of the head, (V, C): its own, or the embedding's when tied."""
        return self.head.weight if isinstance(self.head, nn.Linear) else self.token_embedding.weight

    @property
    def head_bias(self) -> Tensor | None:
        """The bias of the head, (V,), or None."""
        return self.head.bias if isinstance(self.head, nn.Linear) else None

    def new_cache(self, batch_size: int, capacity: int | None = None) -> KVCache:
        """Return an empty cache on this model's device, with its dtype."""
        weight = self.token_embedding.weight
        return KVCache(
            self.config, batch_size=batch_size, capacity=capacity, device=weight.device, dtype=weight.dtype
        )

    def num_parameters(self, *, trainable_only: bool = False) -> int:
        """Return the number of parameters, or of those that are trainable."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not trainable_only)

    def _rotation(self, positions: Tensor) -> Rotation | None:
        if self.config.positions != "rotary":
            return None
        return rotation(positions, rope_frequencies(self.config, positions.device))

    def _check_ids(self, ids_BT: Tensor, held: int) -> None:
        if ids_BT.dim() != 2 or ids_BT.shape[1] == 0:
            raise ModelError(
                f"Token ids must have the shape (B, T) with T at least 1, not {tuple(ids_BT.shape)}."
            )
        total = held + ids_BT.shape[1]
        if total > self.config.context_length:
            raise ModelError(
                f"{total} tokens are more than the model's context_length of {self.config.context_length}. "
                f"Keep the last {self.config.context_length}, or train a model with a longer context."
            )


def initialize(model: GPT) -> None:
    """Draw all weights as GPT-2 does: normal with standard deviation 0.02, biases 0, norms 1.

    The token embedding's standard deviation is the config's `embedding_std`.

    Each block adds to the residual stream twice. The projections that do this are drawn smaller by
    sqrt(2 n_layer), so that the stream's size does not grow with depth (Radford et al., 2019, section 2.3).
    """
    residual = 0.02 / math.sqrt(2 * model.config.n_layer)
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            writes_to_stream = name.endswith(("attention.output", "mlp.down"))
            std = residual if writes_to_stream else 0.02
            nn.init.normal_(
                module.weight, std=model.config.embedding_std if name == "token_embedding" else std
            )
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
