"""What a model is made of: every choice of the architecture in one frozen, checked dataclass.

The defaults are the parts that current small models share (Qwen3, Llama): rotary positions, RMSNorm, a
gated SiLU MLP, QK-norm, no biases, and a head tied to the embedding. Other settings give GPT-2 or anything
in between. This module does not import torch, so a config is read, checked and counted instantly.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from glassgpt.errors import ConfigError, ModelError, did_you_mean
from glassgpt.idle import OnlyWith
from glassgpt.model.parts import ACTIVATIONS, NORMS
from glassgpt.registry import Registry

POSITIONS = ("learned", "sinusoidal", "rotary", "none")
ATTENTIONS = ("full", "sliding", "strided")
ROPE_SCALINGS = ("none", "linear", "llama3")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The shape and the parts of one decoder-only transformer. Raises `ConfigError` when they do not fit."""

    vocab_size: int = 50257
    """Number of token ids; set by the tokenizer."""
    context_length: int = 256
    """The most tokens that the model attends to, the current one included."""
    n_layer: int = 4
    """Number of blocks, each an attention and an MLP."""
    n_head: int = 4
    """Query heads."""
    n_head_dim: int | None = None
    """Width of a head. None: n_embd / n_head."""
    n_kv_head: int | None = None
    """Key and value heads, shared by groups of query heads (grouped-query attention). None: n_head."""
    n_embd: int = 128
    """Width of the residual stream."""
    n_hidden: int | None = None
    """Width of the MLP. None: 4 n_embd, or for a gated one (swiglu) 8/3 n_embd rounded up to a multiple of 8. Its three
    matrices then have about as many parameters as the two matrices of the others."""

    positions: str = "rotary"
    """learned | sinusoidal | rotary | none."""
    rope_theta: float = 10000.0
    """Base of the rotary wavelengths."""
    rope_scaling: str = "none"
    """none | linear | llama3: how the wavelengths of a model trained on shorter texts are stretched."""
    rope_factor: float = 1.0
    """Factor by which scaled wavelengths are stretched."""
    rope_original_length: int | None = None
    """llama3: the original context length. Much shorter wavelengths are not changed."""
    rope_low_frequency: float = 1.0
    """llama3: waves that turn fewer times than this within the original length are stretched in full."""
    rope_high_frequency: float = 4.0
    """llama3: waves that turn more often than this are not stretched; those in between are stretched in part."""

    norm: str = "rmsnorm"
    """The norm before each attention, each MLP, and the head: layernorm | rmsnorm, or one from a package."""
    norm_epsilon: float = 1e-6
    """Keeps a norm from dividing by zero."""
    activation: str = "swiglu"
    """relu | gelu (exact) | gelu_tanh (GPT-2's) | relu2 (relu squared) | swiglu (gated, three matrices), or one from a
    package."""

    attention: str = "full"
    """full | sliding (the last `window` tokens) | strided (those, and every `stride`-th before them)."""
    window: int | None = None
    """Number of nearest tokens that are visible, the token itself included. None: `stride`, for strided attention."""
    stride: int | None = None
    """Distance between the far tokens that are visible in strided attention."""
    qk_norm: bool = True
    """Whether an RMSNorm is applied to each head's query and key, which keeps attention logits from growing."""

    qkv_bias: bool = False
    """Bias of the query, key and value projections."""
    attention_bias: bool = False
    """Bias of the attention's output projection."""
    mlp_bias: bool = False
    """Bias of the MLP's matrices."""
    norm_bias: bool = False
    """Bias of each LayerNorm."""
    head_bias: bool = False
    """Bias of an untied head."""
    tied_head: bool = True
    """Whether the head reuses the embedding matrix."""
    embedding_std: float = 0.02
    """Standard deviation of the token embedding's initial values. 0.02 is GPT-2's; with a larger one, a small model
    with a small vocabulary learns to copy names much sooner."""
    dropout: float = 0.0
    """Share of embeddings, attention weights and branch outputs that are set to zero in training."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (  # combinations that are never allowed are checked below
        OnlyWith(("rope_theta",), "positions", ("rotary",)),
        OnlyWith(
            ("rope_original_length", "rope_low_frequency", "rope_high_frequency"), "rope_scaling", ("llama3",)
        ),
    )

    def __post_init__(self) -> None:
        _check_counts(self)
        _check_choices(self)
        _check_heads(self)
        _check_reach(self)
        _check_rope(self)
        _check_numbers(self)
        if self.norm_bias and not NORMS[self.norm].has_bias:
            raise ConfigError(
                f"norm_bias: {self.norm} has no bias. Use norm = 'layernorm' or norm_bias = false."
            )
        if self.head_bias and self.tied_head:
            raise ConfigError(
                "head_bias: a tied head has no bias. Use tied_head = false or head_bias = false."
            )

    @property
    def head_dim(self) -> int:
        """Width of one head, with the default filled in."""
        return self.n_head_dim or self.n_embd // self.n_head

    @property
    def attention_width(self) -> int:
        """Width of all query heads together, which the output projection maps back to n_embd."""
        return self.n_head * self.head_dim

    @property
    def kv_heads(self) -> int:
        """Number of key and value heads, with the default filled in."""
        return self.n_kv_head or self.n_head

    @property
    def mlp_width(self) -> int:
        """Width of the MLP, with the default filled in."""
        if self.n_hidden is not None:
            return self.n_hidden
        if ACTIVATIONS[self.activation].gated:
            return 8 * math.ceil(8 * self.n_embd / 3 / 8)
        return 4 * self.n_embd

    @property
    def local_window(self) -> int:
        """Number of nearest tokens that a token always sees, itself included."""
        return self.window or self.stride or self.context_length


def require_known(config: ModelConfig, place: str, **known: Collection[str]) -> None:
    """Raise `ModelError` when an option has a value that `place` does not support.

    Each place lists the values it supports. A value that is added here later is refused by a place that does not
    know it, and is never computed as another one.
    """
    for option, values in known.items():
        value = getattr(config, option)
        if value not in values:
            raise ModelError(
                f"{option} = {value!r} is not known to {place}, which has {', '.join(values)}. Choose one of these, or "
                "add it there."
            )


def _check_counts(config: ModelConfig) -> None:
    for name in ("vocab_size", "context_length", "n_layer", "n_head", "n_embd"):
        _require_count(name, getattr(config, name))
    for name in ("n_kv_head", "n_head_dim", "n_hidden", "window", "stride", "rope_original_length"):
        if getattr(config, name) is not None:
            _require_count(name, getattr(config, name))


def _require_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**63:
        raise ConfigError(f"{name} = {value!r}: it must be a whole number from 1 to below 2**63.")


def _check_choices(config: ModelConfig) -> None:
    _require_choice("positions", config.positions, POSITIONS)
    _require_choice("norm", config.norm, NORMS)
    _require_choice("activation", config.activation, ACTIVATIONS)
    _require_choice("attention", config.attention, ATTENTIONS)
    _require_choice("rope_scaling", config.rope_scaling, ROPE_SCALINGS)


def _require_choice(name: str, value: str, choices: Sequence[str] | Registry) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(
            f"{name} = {value!r} is not known.{did_you_mean(str(value), choices, most=1)} "
            f"Choose one of: {', '.join(choices)}"
            f"{', or install the package that brings it' if isinstance(choices, Registry) else ''}."
        )


def _check_heads(config: ModelConfig) -> None:
    if config.n_head_dim is None and config.n_embd % config.n_head:
        width = 2 if config.positions == "rotary" else 1  # of a head: rotary positions turn pairs of numbers
        near = config.n_head * max(1, round(config.n_embd / config.n_head / width)) * width
        raise ConfigError(
            f"n_embd = {config.n_embd} cannot be shared among n_head = {config.n_head} heads. "
            f"Make n_embd a multiple of n_head, for example {near}, or give heads a width with n_head_dim."
        )
    if config.n_head % config.kv_heads:
        raise ConfigError(
            f"n_kv_head = {config.n_kv_head} does not divide n_head = {config.n_head}. "
            "Each key and value head serves an equal group of query heads: choose a divisor of n_head."
        )
    if config.positions == "rotary" and config.head_dim % 2:
        raise ConfigError(
            f"positions = 'rotary' turns pairs of numbers, but a head is {_width_of_a_head(config)} "
            "wide. Make that even, or choose other positions."
        )
    if config.positions == "sinusoidal" and config.n_embd % 2:
        raise ConfigError(
            f"positions = 'sinusoidal' fills pairs of numbers, but n_embd = {config.n_embd} is odd. "
            "Make it even, or choose other positions."
        )


def _width_of_a_head(config: ModelConfig) -> str:
    return f"{'n_head_dim' if config.n_head_dim else 'n_embd / n_head'} = {config.head_dim}"


def _check_rope(config: ModelConfig) -> None:
    if config.rope_scaling == "none" and config.rope_factor != 1.0:
        raise ConfigError(
            f"rope_factor = {config.rope_factor} has no effect on rope_scaling = 'none'. "
            "Use rope_scaling = 'linear' or 'llama3', or remove rope_factor."
        )
    if config.rope_scaling != "none" and config.positions != "rotary":
        raise ConfigError(
            f"rope_scaling = {config.rope_scaling!r} has no effect on positions = {config.positions!r}. "
            "Use positions = 'rotary', or remove rope_scaling."
        )
    if config.rope_scaling == "llama3" and config.rope_original_length is None:
        raise ConfigError("rope_scaling = 'llama3' needs rope_original_length, the original context length.")
    if config.rope_low_frequency >= config.rope_high_frequency:
        raise ConfigError("rope_low_frequency must be below rope_high_frequency.")


def _check_reach(config: ModelConfig) -> None:
    if config.attention == "sliding" and config.window is None:
        raise ConfigError("attention = 'sliding' needs a window: set window, for example window = 128.")
    if config.attention == "strided" and config.stride is None:
        raise ConfigError("attention = 'strided' needs a stride: set stride, for example stride = 16.")
    if config.attention == "full" and config.window is not None:
        raise ConfigError(
            f"window = {config.window} has no effect on attention = 'full'. "
            "Use attention = 'sliding', or remove window."
        )
    if config.attention != "strided" and config.stride is not None:
        raise ConfigError(
            f"stride = {config.stride} has no effect on attention = {config.attention!r}. "
            "Use attention = 'strided', or remove stride."
        )


def _check_numbers(config: ModelConfig) -> None:
    if not 0 <= config.dropout < 1:
        raise ConfigError(f"dropout = {config.dropout}: it must be at least 0 and less than 1.")
    for name in ("rope_theta", "rope_factor", "rope_low_frequency", "norm_epsilon", "embedding_std"):
        value = getattr(config, name)
        if not 0 < value < math.inf:
            raise ConfigError(f"{name} = {value}: it must be a number above 0.")
