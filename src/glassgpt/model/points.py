"""Names for the tensors inside a model, so that they can be inspected or replaced from outside.

    embedding                      (B, T, C)     the input of the first block
    blocks.i.input                 (B, T, C)     the residual stream before block i
    blocks.i.attention_input       (B, T, C)     normed
    blocks.i.queries               (B, H, T, D)  after rotation
    blocks.i.keys, .values         (B, K, S, D)  cached ones included
    blocks.i.weights               (B, H, T, S)  how much each query attends to each key
    blocks.i.heads                 (B, H, T, D)  the output of each head
    blocks.i.attention             (B, T, C)     what attention adds to the stream
    blocks.i.middle                (B, T, C)     the stream after that
    blocks.i.mlp_input             (B, T, C)     normed
    blocks.i.neurons               (B, T, F)     the MLP's activations
    blocks.i.mlp                   (B, T, C)     what the MLP adds to the stream
    blocks.i.output                (B, T, C)     the stream after block i
    final                          (B, T, C)     after the final norm: the input of the head

So `input + attention = middle` and `middle + mlp = output` (without dropout). The model knows nothing about points:
looking at one adds a hook to a module, or another form of attention (`attention.using`), until the `with` block ends.
When nobody looks, there is no cost.

Legend: B batch, T tokens, S keys, C = n_embd, H query heads, K key/value heads, D head width, F MLP width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from glassgpt.errors import ConfigError, did_you_mean
from glassgpt.model.attend import Form, attention_weights, mix
from glassgpt.model.attention import using
from glassgpt.model.gpt import GPT

See = Callable[[str, Tensor], Tensor | None]
"""Called with a point's name and its value; a tensor that it returns replaces the value."""

OF_MODEL = {"embedding": ("dropout", "output"), "final": ("final_norm", "output")}
"""Points at the input or output of one of the model's modules."""
OF_BLOCK = {
    "input": ("", "input"),
    "attention_input": ("attention_norm", "output"),
    "attention": ("attention", "output"),
    "middle": ("mlp_norm", "input"),
    "mlp_input": ("mlp_norm", "output"),
    "neurons": ("mlp.down", "input"),
    "mlp": ("mlp", "output"),
    "output": ("", "output"),
}
"""Points at the input or output of one of a block's modules."""
OF_ATTENTION = ("queries", "keys", "values", "weights", "heads")
"""Points inside attention."""


def point_names(layers: int) -> list[str]:
    """Return the names of all points of a model with this number of layers."""
    blocks = [f"blocks.{layer}.{name}" for layer in range(layers) for name in (*OF_BLOCK, *OF_ATTENTION)]
    return ["embedding", *blocks, "final"]


@contextlib.contextmanager
def looking(model: GPT, *names: str, see: See) -> Iterator[None]:
    """Call `see` at each of the named points during the block; names may be patterns, such as `blocks.*.mlp`.

    Raises `ConfigError` for a name or a pattern that matches no point.
    """
    with contextlib.ExitStack() as stack:
        inside: dict[int, set[str]] = {}
        for name in _matching(model, names):
            scope, _, point = name.rpartition(".")
            if point in OF_ATTENTION:
                inside.setdefault(int(scope.removeprefix("blocks.")), set()).add(point)
                continue
            module, side = OF_BLOCK[point] if scope else OF_MODEL[point]
            place = model.get_submodule(".".join(filter(None, (scope, module))))
            handle = _hook(place, side, partial(see, name))
            stack.callback(handle.remove)
        for layer, points in inside.items():
            attention = model.blocks[layer].get_submodule("attention")
            form: Any = attention.form
            stack.enter_context(using(model, _seen(form, f"blocks.{layer}", points, see), layers=[layer]))
        yield


def _matching(model: GPT, patterns: tuple[str, ...]) -> list[str]:
    known = point_names(model.config.n_layer)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ConfigError(
                f"This model has no point {pattern!r}.{did_you_mean(pattern, known, most=1)} "
                f"Its points are: embedding, final, and of each block 0 to {model.config.n_layer - 1} "
                f"{', '.join((*OF_BLOCK, *OF_ATTENTION))}, such as blocks.0.mlp."
            )
    return [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _hook(module: nn.Module, side: str, see: Callable[[Tensor], Tensor | None]) -> Any:
    def before(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        replaced = see(arguments[0])
        return None if replaced is None else (replaced, *arguments[1:])

    def after(_module: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return see(output)

    return (
        module.register_forward_pre_hook(before) if side == "input" else module.register_forward_hook(after)
    )


def _seen(form: Form, scope: str, points: set[str], see: See) -> Form:
    """Return a form of attention that shows its parts; the weights are computed only if they are asked for."""

    def look(point: str, value: Tensor) -> Tensor:
        replaced = see(f"{scope}.{point}", value) if point in points else None
        return value if replaced is None else replaced

    def shown(
        q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, mask: Tensor | None, *, causal: bool, dropout: float
    ) -> Tensor:
        q_BHTD, k_BKSD, v_BKSD = look("queries", q_BHTD), look("keys", k_BKSD), look("values", v_BKSD)
        if "weights" in points:
            weights_BHTS = look("weights", attention_weights(q_BHTD, k_BKSD, mask, causal=causal))
            mixed_BHTD = mix(F.dropout(weights_BHTS, dropout), v_BKSD)
        else:
            mixed_BHTD = form(q_BHTD, k_BKSD, v_BKSD, mask, causal=causal, dropout=dropout)
        return look("heads", mixed_BHTD)

    return shown
