"""What a model costs, computed from its config alone: weights, FLOPs, bytes. No torch, no waiting.

Shapes and parameters are exact (tests compare them with the real module). FLOPs count matrix products, two
for each multiply-add, and leave out the small rest: norms, activations, softmax, biases. Activation bytes
are an estimate, accurate to about a tenth.

Legend: C = n_embd, V vocabulary, H query heads, K key/value heads, D head width, F MLP width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from glassgpt.model.config import ModelConfig, require_known
from glassgpt.model.logits import CHUNK_BYTES, SMALL_LOGITS
from glassgpt.model.parts import ACTIVATIONS, NORMS

_KNOWN = {
    "positions": ("learned", "sinusoidal", "rotary", "none"),
    "attention": ("full", "sliding", "strided"),
}
Shape = tuple[int, ...]
FLOAT32 = 4
"""Bytes of one number in the weights, gradients and optimizer state of training."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of weight: its name ("*" for the block number), its shape, and how many there are."""

    name: str
    shape: Shape
    count: int

    @property
    def parameters(self) -> int:
        """Number of parameters in all of them together."""
        return self.count * math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class TrainingBytes:
    """Memory of one training step, by use."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    beside: int = 0
    """Anything else in memory during the step, such as a copy of the base model."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.beside


@dataclass(frozen=True, slots=True)
class InferenceBytes:
    """Memory during generation, by use."""

    weights: int
    cache: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache


def rows(config: ModelConfig) -> list[Row]:
    """Return the table of weights from bottom to top; the blocks' weights appear once with their count."""
    require_known(config, "model/summary.py", **_KNOWN)
    table = [Row("token_embedding.weight", (config.vocab_size, config.n_embd), 1)]
    if config.positions == "learned":
        table.append(Row("position_embedding.weight", (config.context_length, config.n_embd), 1))
    for name, shape in _block_shapes(config):
        table.append(Row(f"blocks.*.{name}", shape, config.n_layer))
    table += [Row(name, shape, 1) for name, shape in _norm_shapes("final_norm", config)]
    if not config.tied_head:
        head = _linear_shapes("head", config.vocab_size, config.n_embd, bias=config.head_bias)
        table += [Row(name, shape, 1) for name, shape in head]
    return table


def parameter_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return the name and shape of every weight, as in the model's state dict."""
    shapes: dict[str, Shape] = {}
    for row in rows(config):
        for layer in range(row.count):
            shapes[row.name.replace("*", str(layer))] = row.shape
    return shapes


def count_parameters(config: ModelConfig) -> int:
    """Return the number of parameters of the model."""
    return sum(row.parameters for row in rows(config))


def block_parameters(config: ModelConfig) -> int:
    """Return the number of parameters in the blocks, without embeddings and head."""
    return sum(row.parameters for row in rows(config) if row.name.startswith("blocks."))


def matmul_parameters(config: ModelConfig) -> int:
    """Return the number of weights that each token is multiplied by: matrices and head, not lookup tables.

    A tied head counts: its product is computed although it shares its numbers with the embedding.
    """
    return block_matrices(config) + config.vocab_size * config.n_embd


def block_matrices(config: ModelConfig) -> int:
    """Return the numbers in the matrices of the blocks."""
    return sum(config.n_layer * math.prod(shape) for _, shape in _block_shapes(config) if len(shape) == 2)


def flops_per_token(config: ModelConfig, *, training: bool = True, length: int | None = None) -> int:
    """Return the FLOPs per token in a text of `length` tokens (None: the context length).

    Training: 6 N + 12 n_layer H D length; the forward pass alone is a third of it. N is
    `matmul_parameters`: 2 FLOPs forward and 4 backward for each (Kaplan et al., 2020, section 2.1). The
    second term is attention's two products (Chowdhery et al., 2022, "PaLM", appendix B). By convention they
    are counted as if every token saw all `length` tokens: masks (causal, sliding, strided) are not deducted.
    """
    attention = 2 * config.n_layer * config.attention_width * (length or config.context_length)
    forward = 2 * (matmul_parameters(config) + attention)
    return 3 * forward if training else forward


def training_bytes(
    config: ModelConfig,
    *,
    batch_size: int,
    length: int | None = None,
    checkpoint_activations: bool = False,
    device: str = "cpu",
    segments: bool = False,
    loss: int | None = None,
    kept: Callable[[int, int], int] | None = None,
) -> TrainingBytes:
    """Return the memory of a float32 training step.

    `kept` says how many numbers the optimizer keeps, given those in the matrices of the blocks and in all other
    weights. None is AdamW, which keeps two for each weight.

    The activations include the loss and the masks and tables of attention. How many logits the loss holds depends on
    the kind of device; `loss` gives its bytes for a loss other than that of pretraining. With `segments` a row holds
    several texts, so each row has its own mask.
    """
    length = length or config.context_length
    numbers = count_parameters(config)
    weights, matrices = FLOAT32 * numbers, block_matrices(config)
    optimizer = 2 * weights if kept is None else FLOAT32 * kept(matrices, numbers - matrices)
    tokens = batch_size * length
    masks = _masks(config, batch_size, length, segments)
    block = FLOAT32 * tokens * _block_floats(config, length) + (0 if config.dropout else masks.added)
    loss = _loss_bytes(config, tokens, device) if loss is None else loss
    held = FLOAT32 * tokens * 3 * config.n_embd  # the final norm
    held += _table_bytes(config, batch_size, length, segments) + masks.seen
    if checkpoint_activations:  # each block's input; one block at a time is recomputed in the backward pass
        held += config.n_layer * FLOAT32 * tokens * config.n_embd + max(loss, block)
    else:
        held += config.n_layer * block + loss
    return TrainingBytes(weights, weights, optimizer, max(held, masks.making))


def forward_bytes(
    config: ModelConfig,
    *,
    batch_size: int,
    length: int | None = None,
    device: str = "cpu",
    segments: bool = False,
    logits: int | None = None,
) -> int:
    """Return the memory of a forward pass that keeps nothing for gradients, without the weights.

    The largest of its parts decides: making the masks, attention, the MLP, the loss of each token. `logits` gives the
    bytes of the logits held at once, where they differ from those of `training.losses.token_losses`.
    """
    require_known(config, "model/summary.py", **_KNOWN)
    length = length or config.context_length
    tokens = batch_size * length
    masks = _masks(config, batch_size, length, segments)
    heads = (config.n_head + config.kv_heads) * config.head_dim
    stream = FLOAT32 * tokens * 4 * config.n_embd
    turned = heads * (config.positions == "rotary" or config.qk_norm)
    projected = heads + config.kv_heads * config.head_dim + turned + config.attention_width
    attention = stream + FLOAT32 * tokens * projected + masks.seen + masks.added
    mlp = stream + FLOAT32 * tokens * config.mlp_width * ACTIVATIONS[config.activation].at_once + masks.seen
    if logits is None:
        logits = _chunk_bytes(config, tokens, device)
    of_targets = FLOAT32 * tokens * 2 * config.n_embd  # the head's input, and the rows of its matrix
    parts = (masks.making, attention, mlp, of_targets + logits)
    return max(parts) + _table_bytes(config, batch_size, length, segments)


def inference_bytes(
    config: ModelConfig, *, batch_size: int = 1, length: int | None = None, bytes_per_number: int = FLOAT32
) -> InferenceBytes:
    """Return the memory for generation: the weights, and a cache of `length` tokens for each row."""
    per_token = 2 * config.n_layer * config.kv_heads * config.head_dim
    numbers = batch_size * (length or config.context_length) * per_token
    return InferenceBytes(bytes_per_number * count_parameters(config), bytes_per_number * numbers)


def short_number(number: float) -> str:
    """Return a number with three digits and the letter of its unit: "3.69 M"."""
    units = iter("kMGTPEZYRQ")
    unit = ""
    while number >= 999.5 and unit != "Q":
        number, unit = number / 1000, next(units)
    return f"{number:.3g} {unit}"


def byte_size(number: float) -> str:
    """Return a number of bytes in readable form: "3.69 MB"."""
    return f"{short_number(number)}B"


def _linear_shapes(name: str, rows: int, columns: int, *, bias: bool) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def _norm_shapes(name: str, config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (config.n_embd,)
    if config.norm_bias:
        yield f"{name}.bias", (config.n_embd,)


def _block_shapes(config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    """Yield the weights of one block in the module's order."""
    width, hidden = config.n_embd, config.mlp_width
    fused = (config.n_head + 2 * config.kv_heads) * config.head_dim
    yield from _norm_shapes("attention_norm", config)
    yield from _linear_shapes("attention.qkv", fused, width, bias=config.qkv_bias)
    yield from _linear_shapes("attention.output", width, config.attention_width, bias=config.attention_bias)
    if config.qk_norm:
        yield "attention.query_norm.weight", (config.head_dim,)
        yield "attention.key_norm.weight", (config.head_dim,)
    yield from _norm_shapes("mlp_norm", config)
    if ACTIVATIONS[config.activation].gated:
        yield from _linear_shapes("mlp.gate", hidden, width, bias=config.mlp_bias)
    yield from _linear_shapes("mlp.up", hidden, width, bias=config.mlp_bias)
    yield from _linear_shapes("mlp.down", width, hidden, bias=config.mlp_bias)


def _loss_bytes(config: ModelConfig, tokens: int, device: str) -> int:
    """Estimate the memory of the loss: all logits and their log-softmax if they are few.

    Otherwise: a chunk of them, and the gradients of the head's input and matrix, computed in the same pass.
    """
    row = FLOAT32 * config.vocab_size
    if tokens * row <= SMALL_LOGITS:
        return 2 * tokens * row
    return _chunk_bytes(config, tokens, device) + FLOAT32 * config.n_embd * (tokens + config.vocab_size)


def _chunk_bytes(config: ModelConfig, tokens: int, device: str) -> int:
    """Return the bytes of the logits that are in memory at a time."""
    row = FLOAT32 * config.vocab_size
    return row * min(tokens, max(1, CHUNK_BYTES[device] // row))


@dataclass(frozen=True, slots=True)
class _Masks:
    """Bytes of the attention masks; all 0 where attention is plainly causal."""

    seen: int = 0
    """The mask itself, one byte for each pair of tokens, which all layers share."""
    added: int = 0
    """The form of the mask in each layer: numbers that are added to the scores."""
    making: int = 0
    """Memory while the mask is made, mostly distances of eight bytes."""


def _masks(config: ModelConfig, rows: int, length: int, segments: bool) -> _Masks:
    if not segments and (config.attention == "full" or length <= config.local_window):
        return _Masks()
    pairs, masks = length**2, rows if segments else 1
    distances = 2 if config.attention == "strided" else 1
    return _Masks(
        seen=masks * pairs,
        added=FLOAT32 * masks * pairs,
        making=(8 * distances + 3) * pairs + 2 * rows * pairs * segments,
    )


def _table_bytes(config: ModelConfig, rows: int, length: int, segments: bool) -> int:
    """Return the bytes of the angles of rotary positions and their cosines and sines."""
    if config.positions != "rotary":
        return 0
    return FLOAT32 * 3 * (config.head_dim // 2) * length * (rows if segments else 1)


def _block_floats(config: ModelConfig, length: int) -> int:
    width, hidden = config.n_embd, config.mlp_width
    queries_keys = (config.n_head + config.kv_heads) * config.head_dim
    # The input and the output of both norms, of the fused projection, and of attention.
    floats = 2 * 2 * width + queries_keys + config.kv_heads * config.head_dim + config.attention_width
    floats += 2 * width * NORMS[config.norm].kept
    floats += queries_keys * (2 * config.qk_norm + (config.positions == "rotary"))
    require_known(config, "model/summary.py", **_KNOWN)
    floats += hidden * ACTIVATIONS[config.activation].kept
    if config.dropout:
        # Attention keeps its weights, the dropout mask, and the result; each branch keeps its dropout mask.
        floats += 3 * config.n_head * length + 2 * width
    return floats
