"""Which tensors of a family's Hugging Face model correspond to which of ours.

Our model keeps queries, keys and values in one matrix; Llama and its kin keep three. GPT-2 stores its matrices
transposed. One table of `Match`es describes this for a model. It is read in both directions, one tensor at a time, so
two copies of the weights are never in memory.

Legend: C = n_embd, V vocabulary, H query heads, K key/value heads, D head width, F MLP width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from glassgpt.architectures.families import Family
from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig

Shape = tuple[int, ...]
Read = Callable[[str], Tensor]
"""Returns a tensor by its name."""


@dataclass(frozen=True, slots=True)
class Match:
    """One of our tensors, and those of theirs that are stacked in it from the first row down."""

    ours: str | None
    """None: our model has no such bias, and theirs are zeros."""
    theirs: tuple[str, ...]
    rows: tuple[int, ...]
    """Number of rows of each of their tensors."""
    columns: int | None = None
    """None: a vector, not a matrix."""
    turned: bool = False
    """Whether their tensors are transposed."""

    def shape(self) -> Shape:
        """Return the shape of our tensor."""
        return (sum(self.rows),) if self.columns is None else (sum(self.rows), self.columns)

    def their_shape(self, name: str) -> Shape:
        """Return the shape of one of their tensors."""
        rows = self.rows[self.theirs.index(name)]
        if self.columns is None:
            return (rows,)
        return (self.columns, rows) if self.turned else (rows, self.columns)

    def join(self, read: Read) -> Tensor:
        """Return our tensor from theirs, which `read` gives by name."""
        parts = [read(name).T if self.turned else read(name) for name in self.theirs]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def cut(self, name: str, read: Read) -> Tensor:
        """Return one of their tensors from ours, which `read` gives by name."""
        if self.ours is None:
            return torch.zeros(self.their_shape(name))
        first = sum(self.rows[: self.theirs.index(name)])
        part = read(self.ours)[first : first + self.rows[self.theirs.index(name)]]
        return part.T if self.turned else part


def matches(config: ModelConfig, family: Family) -> list[Match]:
    """Return the matches of all tensors, from bottom to top. `family` must be able to hold the config."""
    return list(_gpt2(config) if family == "gpt2" else _llama(config, family))


def our_recipes(config: ModelConfig, family: Family) -> dict[str, Match]:
    """Return the match of each of our tensors by name."""
    return {match.ours: match for match in matches(config, family) if match.ours}


def refuse_left_out(config: ModelConfig, family: Family, ours: Collection[str]) -> None:
    """Raise `ModelError` when one of `ours`, the names of our tensors, has no place in any of theirs."""
    left = set(ours) - our_recipes(config, family).keys()
    if left:
        raise ModelError(
            f"The weights {min(left)} have no place in the format of {family}, so an export would leave them out. "
            "`glassgpt export --to onnx` can hold any model."
        )


def their_recipes(config: ModelConfig, family: Family) -> dict[str, Match]:
    """Return the match of each of their tensors by name."""
    return {name: match for match in matches(config, family) for name in match.theirs}


def _gpt2(config: ModelConfig) -> Iterator[Match]:
    width, hidden = config.n_embd, config.mlp_width
    yield Match("token_embedding.weight", ("transformer.wte.weight",), (config.vocab_size,), width)
    yield Match("position_embedding.weight", ("transformer.wpe.weight",), (config.context_length,), width)
    for layer in range(config.n_layer):
        ours, theirs = f"blocks.{layer}", f"transformer.h.{layer}"
        yield from _norm(config, f"{ours}.attention_norm", f"{theirs}.ln_1", bias=True)
        yield from _turned(
            f"{ours}.attention.qkv", f"{theirs}.attn.c_attn", 3 * width, width, config.qkv_bias
        )
        yield from _turned(
            f"{ours}.attention.output", f"{theirs}.attn.c_proj", width, width, config.attention_bias
        )
        yield from _norm(config, f"{ours}.mlp_norm", f"{theirs}.ln_2", bias=True)
        yield from _turned(f"{ours}.mlp.up", f"{theirs}.mlp.c_fc", hidden, width, config.mlp_bias)
        yield from _turned(f"{ours}.mlp.down", f"{theirs}.mlp.c_proj", width, hidden, config.mlp_bias)
    yield from _norm(config, "final_norm", "transformer.ln_f", bias=True)
    yield from _head(config)


def _llama(config: ModelConfig, family: Family) -> Iterator[Match]:
    width, hidden = config.n_embd, config.mlp_width
    queries, keys = config.attention_width, config.kv_heads * config.head_dim
    # Llama and Qwen3 have one switch for the biases of all four projections.
    all_four = family in ("llama", "qwen3") and (config.qkv_bias or config.attention_bias)
    yield Match("token_embedding.weight", ("model.embed_tokens.weight",), (config.vocab_size,), width)
    for layer in range(config.n_layer):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        yield from _norm(config, f"{ours}.attention_norm", f"{theirs}.input_layernorm")
        projections = tuple(f"{theirs}.self_attn.{part}_proj" for part in "qkv")
        yield from _stacked(
            f"{ours}.attention.qkv", projections, (queries, keys, keys), width,
            has=config.qkv_bias, wants=all_four or family == "qwen2",
        )  # fmt: skip
        yield from _stacked(
            f"{ours}.attention.output", (f"{theirs}.self_attn.o_proj",), (width,), queries,
            has=config.attention_bias, wants=all_four,
        )  # fmt: skip
        if config.qk_norm:
            for part, short in (("query", "q"), ("key", "k")):
                name = f"{theirs}.self_attn.{short}_norm.weight"
                yield Match(f"{ours}.attention.{part}_norm.weight", (name,), (config.head_dim,))
        yield from _norm(config, f"{ours}.mlp_norm", f"{theirs}.post_attention_layernorm")
        for part, rows, columns in (("gate", hidden, width), ("up", hidden, width), ("down", width, hidden)):
            bias = config.mlp_bias
            yield from _stacked(
                f"{ours}.mlp.{part}", (f"{theirs}.mlp.{part}_proj",), (rows,), columns, has=bias, wants=bias
            )
    yield from _norm(config, "final_norm", "model.norm")
    yield from _head(config)


def _norm(config: ModelConfig, ours: str, theirs: str, *, bias: bool = False) -> Iterator[Match]:
    """Match a norm; `bias` says whether theirs has one."""
    yield Match(f"{ours}.weight", (f"{theirs}.weight",), (config.n_embd,))
    if bias:
        yield Match(f"{ours}.bias" if config.norm_bias else None, (f"{theirs}.bias",), (config.n_embd,))


def _turned(ours: str, theirs: str, rows: int, columns: int, bias: bool) -> Iterator[Match]:
    """Match one of GPT-2's linear maps, which all have a bias."""
    yield Match(f"{ours}.weight", (f"{theirs}.weight",), (rows,), columns, turned=True)
    yield Match(f"{ours}.bias" if bias else None, (f"{theirs}.bias",), (rows,))


def _stacked(
    ours: str, theirs: tuple[str, ...], rows: tuple[int, ...], columns: int, *, has: bool, wants: bool
) -> Iterator[Match]:
    """Match one of our linear maps with those stacked in it; `has` and `wants`: ours has a bias, theirs need one."""
    yield Match(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), rows, columns)
    if wants:
        yield Match(f"{ours}.bias" if has else None, tuple(f"{name}.bias" for name in theirs), rows)


def _head(config: ModelConfig) -> Iterator[Match]:
    if not config.tied_head:
        yield Match("head.weight", ("lm_head.weight",), (config.vocab_size,), config.n_embd)
