"""LoRA: a frozen matrix and a small trained correction beside it (Hu et al., 2021, section 4.1).

    y = W x + (alpha / rank) B A x          A (rank, C) drawn at random, B (N, rank) all zeros

At first B A is zero, so training begins at the base model. A few thousand numbers are trained instead of millions, and
gradients and optimizer state shrink in proportion. `add_lora` adds the corrections and freezes the rest; `merge` adds
them into the matrices for good. The two mirror each other, and the model knows about neither.

Our queries, keys and values come from one fused matrix. Each is a part with its own correction over its rows, so an
adapter means the same as one on three matrices.

Legend: C inputs, N outputs of a part, `...` any leading axes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from glassgpt.adapters.config import LoRAConfig
from glassgpt.errors import ConfigError, ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT


class LoRALinear(nn.Module):
    """A frozen linear layer with corrections on some ranges of its outputs."""

    enabled: bool = True

    def __init__(self, base: nn.Linear, parts: dict[str, slice], config: LoRAConfig) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.parts = parts
        self.scale = config.scale
        self.dropout = nn.Dropout(config.dropout)
        like = base.weight
        self.down = nn.ParameterDict()  # A of each part
        self.up = nn.ParameterDict()  # B of each part
        for name, rows in parts.items():
            a_RC = torch.empty(config.rank, base.in_features, device=like.device, dtype=like.dtype)
            # As the authors' code and PEFT draw it: uniform within 1 / sqrt(C).
            self.down[name] = nn.Parameter(nn.init.kaiming_uniform_(a_RC, a=math.sqrt(5)))
            self.up[name] = nn.Parameter(like.new_zeros(rows.stop - rows.start, config.rank))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., all outputs)."""
        y = self.base(x)
        if not self.enabled:
            return y
        x = self.dropout(x)
        pieces, done = [], 0
        for name, rows in self.parts.items():  # in the order of their rows
            pieces += [y[..., done : rows.start]] if rows.start > done else []
            low_R = nn.functional.linear(x, self.down[name])
            pieces.append(y[..., rows] + nn.functional.linear(low_R, self.up[name]) * self.scale)
            done = rows.stop
        pieces += [y[..., done:]] if done < y.shape[-1] else []
        return torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0]

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the base layer with the corrections added into its matrix."""
        weight = self.base.weight
        for name, rows in self.parts.items():
            weight[rows] += ((self.up[name].float() @ self.down[name].float()) * self.scale).to(weight.dtype)
        return self.base


def add_lora(model: GPT, config: LoRAConfig) -> GPT:
    """Add corrections to the matrices that `config` names and freeze everything else; return the same model.

    They are drawn from torch's global random generator. Raises `ConfigError` when the model has none of the matrices.
    """
    model.requires_grad_(False)
    found = False
    for block in model.blocks:
        for owner, name in places(block):
            rows = rows_of_parts(model.config, name)
            parts = {part: rows[part] for part in rows if part in config.targets}
            if parts:
                setattr(owner, name, LoRALinear(getattr(owner, name), parts, config))
                found = True
    if not found:
        raise ConfigError(
            f"lora.targets: the model has none of {', '.join(config.targets)}. `gate` is there with swiglu only."
        )
    return model


def merge(model: GPT) -> GPT:
    """Add all corrections into their matrices and remove them; return the same model, trainable as before."""
    for block in model.blocks:
        for owner, name in places(block):
            layer = getattr(owner, name)
            if isinstance(layer, LoRALinear):
                setattr(owner, name, layer.merged())
    return model.requires_grad_(True)


@contextlib.contextmanager
def switched_off(model: nn.Module) -> Iterator[None]:
    """Switch the corrections off during the block, so that the model is its base."""
    layers = [module for module in model.modules() if isinstance(module, LoRALinear)]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.enabled = True


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the layers with corrections by name, such as "blocks.0.attention.qkv"."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def places(block: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield the modules of a block that own linear layers, and the layers' names there."""
    for owner_name, names in (("attention", ("qkv", "output")), ("mlp", ("gate", "up", "down"))):
        owner = block.get_submodule(owner_name)
        yield from ((owner, name) for name in names if hasattr(owner, name))


def rows_of_parts(config: ModelConfig, layer: str) -> dict[str, slice]:
    """Return the rows of each part in a linear layer."""
    if layer == "qkv":
        queries, keys = config.n_head * config.head_dim, config.kv_heads * config.head_dim
        return {
            "query": slice(0, queries),
            "key": slice(queries, queries + keys),
            "value": slice(queries + keys, queries + 2 * keys),
        }
    outputs = config.mlp_width if layer in ("gate", "up") else config.n_embd
    return {layer: slice(0, outputs)}


def load_corrections(model: GPT, tensors: dict[str, Tensor]) -> None:
    """Load the corrections from tensors named "blocks.0.attention.qkv.down.query" and so on.

    Raises `ModelError` when they are not exactly those of the model.
    """
    own = {
        f"{name}.{half}.{part}": parameter
        for name, layer in lora_layers(model).items()
        for half, parameters in (("down", layer.down), ("up", layer.up))
        for part, parameter in parameters.items()
    }
    wrong = set(own) ^ set(tensors) | {
        name for name in set(own) & set(tensors) if own[name].shape != tensors[name].shape
    }
    if wrong:
        raise ModelError(
            f"The adapter does not fit this model: {', '.join(sorted(wrong)[:3])} differ. It was made for another "
            "base, or for other lora.targets."
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])
