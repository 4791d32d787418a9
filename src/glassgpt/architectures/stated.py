"""Reads the settings files of a model from elsewhere into types, so that a number is a number of a possible size.

Others write these files, so nothing in them is trusted before it is checked. A setting that is null counts as not
stated. Settings that are not named here do not matter for the result, or `configs` reads them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from glassgpt.errors import ModelError

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
"""A larger number would be a mistake, and makes other numbers overflow."""


class Gpt2Settings(msgspec.Struct, frozen=True):
    """What the `config.json` of a GPT-2 states about its parts."""

    vocab_size: Count
    n_layer: Count
    n_head: Count
    n_embd: Count
    n_positions: Count = 1024
    n_inner: Count | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    tie_word_embeddings: bool = True
    resid_pdrop: float = 0.1


class RopeSettings(msgspec.Struct, frozen=True):
    """How rotary positions are scaled. Newer files keep these settings in one place, older ones in two."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: float | None = None
    factor: float | None = None
    original_max_position_embeddings: Count | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    partial_rotary_factor: float = 1.0

    @property
    def kind(self) -> str:
        """The name of the scaling method."""
        return self.rope_type or self.type or "default"


class LlamaSettings(msgspec.Struct, frozen=True):
    """What the `config.json` of a Llama, Mistral or Qwen states about its parts."""

    vocab_size: Count
    max_position_embeddings: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    hidden_size: Count
    intermediate_size: Count
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    attention_dropout: float = 0.0
    sliding_window: Count | None = None
    use_sliding_window: bool = False
    max_window_layers: int = 28
    """The first layer with a sliding window."""
    layer_types: tuple[str, ...] = ()
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] = {}
    rope_parameters: dict[str, Any] = {}


Settings = TypeVar("Settings")


def stated(kind: type[Settings], content: object, *, origin: str) -> Settings:
    """Return the content of a JSON object as `kind`. Raises `ModelError` naming an invalid setting."""
    if isinstance(content, Mapping):
        content = {name: value for name, value in content.items() if value is not None}
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        message = (
            str(error).replace(" - at `$.", ", in `").replace("Object missing required field", "there is no")
        )
        raise ModelError(
            f"{origin} cannot be used: {message[0].lower()}{message[1:]}. Take the file that belongs to the model."
        ) from error
