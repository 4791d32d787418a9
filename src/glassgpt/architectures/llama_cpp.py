"""The names that llama.cpp gives to the tensors and settings of a model in a GGUF file.

llama.cpp pairs the numbers of a head for rotary positions in two ways. For Qwen it does as we do: number e with e +
D/2. For Llama it pairs neighbours, as in the paper, so there the rows of queries and keys are reordered. The result is
the same as long as both are reordered.

Legend: C = n_embd, H query heads, K key/value heads, D head width, F MLP width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor

from glassgpt.architectures.families import family_of
from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.parts import ACTIVATIONS
from glassgpt.model.positions import frequencies, rope_frequencies

Read = Callable[[str], Tensor]
# GGUF's names of our parts, in each block.
_BLOCK = {
    "attention_norm": "attn_norm",
    "attention.output": "attn_output",
    "attention.query_norm": "attn_q_norm",
    "attention.key_norm": "attn_k_norm",
    "mlp_norm": "ffn_norm",
    "mlp.gate": "ffn_gate",
    "mlp.up": "ffn_up",
    "mlp.down": "ffn_down",
}
_OUTSIDE = {
    "token_embedding": "token_embd",
    "position_embedding": "position_embd",
    "final_norm": "output_norm",
    "head": "output",
}
ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True, slots=True)
class Piece:
    """The source of a tensor in a GGUF file: rows of one of our tensors, possibly reordered."""

    ours: str
    shape: tuple[int, ...]
    rows: tuple[int, int] | None = None
    heads: int | None = None
    """Number of heads whose rows are reordered to pair neighbours."""

    def make(self, read: Read) -> Tensor:
        """Return the tensor."""
        part = read(self.ours)
        if self.rows is not None:
            part = part[self.rows[0] : self.rows[1]]
        return part if self.heads is None else pair_neighbours(part, self.heads)


def pair_neighbours(rows: Tensor, heads: int) -> Tensor:
    """Put row e + D/2 of each head next to row e: (heads D, ...) to the same shape."""
    halves = rows.unflatten(0, (heads, 2, -1))
    return halves.transpose(1, 2).flatten(0, 2)


def architecture(config: ModelConfig) -> str:
    """Return the name of the architecture that computes the same as the model.

    Raises `ModelError` naming the option that has no place there.
    """
    family = family_of(config)
    if not ACTIVATIONS[config.activation].llama_cpp:
        _refuse(f"activation = {config.activation!r}", "its GPT-2 has gelu_tanh")
    if config.attention != "full" and config.local_window < config.context_length:
        _refuse(f"window = {config.window}", "models of this family see the whole context there")
    if family == "qwen3" and (config.qkv_bias or config.attention_bias):
        _refuse("qkv_bias or attention_bias = true", "its Qwen3 has none")
    if config.rope_scaling == "llama3" and family in ("qwen2", "qwen3"):
        _refuse("rope_scaling = 'llama3'", "it has that only for Llama")
    return "llama" if family == "mistral" else family


def pieces(config: ModelConfig, shapes: dict[str, tuple[int, ...]]) -> dict[str, Piece]:
    """Return the source of each tensor of the file. `shapes` are those of our tensors."""
    kind = architecture(config)
    made: dict[str, Piece] = {}
    for name, shape in shapes.items():
        part, _, ending = name.rpartition(".")
        if not part.startswith("blocks."):
            made[f"{_called(part, _OUTSIDE)}.{ending}"] = Piece(name, shape)
            continue
        _, layer, rest = part.split(".", 2)
        if rest != "attention.qkv":
            made[f"blk.{layer}.{_called(rest, _BLOCK)}.{ending}"] = Piece(name, shape)
        elif kind == "gpt2":
            made[f"blk.{layer}.attn_qkv.{ending}"] = Piece(name, shape)
        else:
            made |= _separate(config, f"blk.{layer}", name, ending, shape, neighbours=kind == "llama")
    return made


def zero_biases(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the biases that llama.cpp's GPT-2 requires and the model lacks, with their shapes."""
    if family_of(config) != "gpt2":
        return {}
    width = config.n_embd
    parts = {
        "attn_norm": (width, config.norm_bias),
        "attn_qkv": (3 * width, config.qkv_bias),
        "attn_output": (width, config.attention_bias),
        "ffn_norm": (width, config.norm_bias),
        "ffn_up": (config.mlp_width, config.mlp_bias),
        "ffn_down": (width, config.mlp_bias),
    }
    missing = {
        f"blk.{layer}.{part}.bias": (size,)
        for layer in range(config.n_layer)
        for part, (size, there) in parts.items()
        if not there
    }
    return missing if config.norm_bias else {**missing, "output_norm.bias": (width,)}


def rope_factors(config: ModelConfig) -> Tensor | None:
    """Return the divisor of each pair's frequency in llama.cpp, (D / 2,), where the pairs are scaled differently."""
    if config.rope_scaling != "llama3":
        return None
    return frequencies(config.head_dim, config.rope_theta) / rope_frequencies(config)


def _separate(
    config: ModelConfig, block: str, name: str, ending: str, shape: tuple[int, ...], *, neighbours: bool
) -> dict[str, Piece]:
    """Cut the fused projection into three."""
    made, first = {}, 0
    for part, heads in (("q", config.n_head), ("k", config.kv_heads), ("v", config.kv_heads)):
        last = first + heads * config.head_dim
        turn = heads if neighbours and part != "v" else None
        made[f"{block}.attn_{part}.{ending}"] = Piece(name, (last - first, *shape[1:]), (first, last), turn)
        first = last
    return made


def _called(part: str, names: dict[str, str]) -> str:
    if part not in names:
        _refuse(f"the weights {part}", "it has no such part")
    return names[part]


def _refuse(option: str, why: str) -> NoReturn:
    raise ModelError(
        f"GGUF files are for llama.cpp, which cannot compute this model: {option} ({why}). Export it with  --to hf  "
        "or  --to onnx."
    )
