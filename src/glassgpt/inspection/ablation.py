"""What a part is good for: take it out of the model, and see what changes.

    head         the output of one attention head (`blocks.i.heads`)
    attention    what a layer's attention adds to the residual stream (`blocks.i.attention`)
    mlp          what a layer's MLP adds (`blocks.i.mlp`)
    block        what a whole block adds: `blocks.i.output` - `blocks.i.input`

A part is replaced by zero, or by its mean over the tokens of a text (mean ablation), each number of its vector by the
mean of that number. Zero is a value that later layers may never have met, so a part that only adds a constant looks
important; the mean leaves the constant, and removes only what differs from token to token (Wang et al., 2022,
"Interpretability in the Wild", who take the mean over many texts of one form).

A small change does not prove that a part does nothing: another part may take over (Wang et al., 2022: backup heads).

Legend: B batch, T tokens, C = n_embd, H query heads, D head width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glassgpt.errors import InspectionError, did_you_mean
from glassgpt.generation.likelihood import of_targets
from glassgpt.inspection.checks import require_head, require_layer
from glassgpt.inspection.seen import TOKENS_AT_ONCE, as_row
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.points import looking

By = Literal["zero", "mean"]
KINDS = ("head", "attention", "mlp", "block")


@dataclass(frozen=True)
class Part:
    """A part of a model that can be removed: one of `KINDS`, its layer, and of a head its number."""

    kind: str
    layer: int
    head: int | None = None

    @property
    def point(self) -> str:
        """The point whose value is replaced."""
        return f"blocks.{self.layer}.{ {'head': 'heads', 'block': 'output'}.get(self.kind, self.kind) }"


@dataclass(frozen=True)
class Effect:
    """What removing one part does to the loss of a text."""

    part: Part
    loss: float
    """Mean loss of the text's tokens after the first without the part, in nats."""
    change: float
    """That loss minus the loss of the whole model; above 0, the part helps to predict the text."""


@contextlib.contextmanager
def without(
    model: GPT,
    *,
    heads: Iterable[tuple[int, int]] = (),
    attentions: Iterable[int] = (),
    mlps: Iterable[int] = (),
    blocks: Iterable[int] = (),
    by: By = "zero",
    over: Sequence[int] | None = None,
) -> Iterator[None]:
    """Remove parts of a model during the block: heads as (layer, head), the others as layers.

    It works for all that the model computes meanwhile: losses, batches, generation with and without a cache.

    With `by="mean"` a part gives its mean over all tokens of the text `over`, the first included, as the model computes
    them when the block is entered. They are the same for every later pass, because a step of generation has only
    one token and no mean could be taken over it. `over` is required with `by="mean"`, and refused with `by="zero"`.

    Calls nest. An inner one sees the model without what an outer one removed, and its values count where both remove
    the same part. Raises `InspectionError` for a layer or a head that the model does not have, and for a text that the
    context does not hold.
    """
    parts = [Part("head", layer, head) for layer, head in heads]
    for kind, layers in (("attention", attentions), ("mlp", mlps), ("block", blocks)):
        parts += [Part(kind, layer) for layer in layers]
    for part in parts:
        if part.head is None:
            require_layer(model.config, part.layer)
        else:
            require_head(model.config, part.layer, part.head)
    _require_way(by)
    if (over is not None) != (by == "mean"):
        raise InspectionError(
            "by='mean' needs the text over whose tokens the mean is taken, and by='zero' takes none. Give both "
            "by='mean' and over=ids, or neither."
        )
    means = {} if over is None else _means(model, over, {part.point for part in parts})
    removed = {
        point: torch.stack([_mask(model, part) for part in parts if part.point == point]).any(0)
        for point in {part.point for part in parts}
    }
    with _replaced(model, removed, means):
        yield


@torch.inference_mode()
def effects(model: GPT, ids: Sequence[int], *, by: By = "zero", parts: Sequence[str] = KINDS) -> list[Effect]:
    """Return the effect of removing each part of the chosen kinds: kind by kind, in the order of layers and heads.

    The loss of the text is computed once with the whole model and once without each part: all kinds together take
    L (H + 3) + 1 passes for L layers of H heads. Several parts are measured in one batch, where each row has the same
    text and lacks another part. `by="mean"` takes the means over this text.
    Raises `InspectionError` for an unknown kind, and for a text of one token or more than the context.
    """
    for kind in parts:
        if kind not in KINDS:
            raise InspectionError(
                f"There is no part {kind!r}.{did_you_mean(kind, KINDS, most=1)} Choose from {', '.join(KINDS)}."
            )
    _require_way(by)
    row_1T = as_row(model, ids, least=2)
    chosen = [part for kind in dict.fromkeys(parts) for part in _every(model, kind)]
    means = _means(model, ids, {part.point for part in chosen}) if by == "mean" else {}
    at_once = max(1, TOKENS_AT_ONCE // len(ids))
    whole = _losses(model, row_1T)[0]
    found = []
    for start in range(0, len(chosen), at_once):
        batch = chosen[start : start + at_once]
        with _replaced(model, _one_in_each_row(model, batch), means):
            losses = _losses(model, row_1T.expand(len(batch), -1))
        found += [Effect(part, loss, loss - whole) for part, loss in zip(batch, losses, strict=True)]
    return found


def _every(model: GPT, kind: str) -> list[Part]:
    layers = range(model.config.n_layer)
    if kind == "head":
        return [Part(kind, layer, head) for layer in layers for head in range(model.config.n_head)]
    return [Part(kind, layer) for layer in layers]


def _mask(model: GPT, part: Part) -> Tensor:
    """Return which numbers at the part's point belong to it: (H, 1, 1) of bool for a head, else (1, 1)."""
    device = model.token_embedding.weight.device
    if part.head is None:
        return torch.ones(1, 1, dtype=torch.bool, device=device)
    return (torch.arange(model.config.n_head, device=device) == part.head)[:, None, None]


def _one_in_each_row(model: GPT, batch: Sequence[Part]) -> dict[str, Tensor]:
    """Return masks by point that remove part b from row b alone: (B, H, 1, 1) for heads, else (B, 1, 1)."""
    removed: dict[str, Tensor] = {}
    for row, part in enumerate(batch):
        mask = _mask(model, part)
        if part.point not in removed:
            removed[part.point] = mask.new_zeros(len(batch), *mask.shape)
        removed[part.point][row] = mask
    return removed


@contextlib.contextmanager
def _replaced(model: GPT, removed: Mapping[str, Tensor], means: Mapping[str, Tensor]) -> Iterator[None]:
    """Replace what masks name at points: by the means, or by zero where there are none."""
    inputs: dict[str, Tensor] = {}

    def see(name: str, value: Tensor) -> Tensor | None:
        scope, _, point = name.rpartition(".")
        if point == "input":
            inputs[scope] = value
            return None
        mean = means[name].to(value.dtype) if name in means else torch.zeros_like(value[..., :1, :])
        if point == "output":
            mean = inputs.pop(scope) + mean
        return torch.where(removed[name], mean, value)

    names = [*removed, *(name.replace("output", "input") for name in removed if name.endswith("output"))]
    with looking(model, *names, see=see):
        yield


@torch.no_grad()  # and not inference mode: autograd cannot save tensors that were made in it
def _means(model: GPT, ids: Sequence[int], names: set[str]) -> dict[str, Tensor]:
    """Return the means over the tokens of a text, (H, 1, D) at `heads` and (1, C) elsewhere.

    At `output` it is the mean of what the block adds.
    """
    means: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}

    def see(name: str, value: Tensor) -> None:
        scope, _, point = name.rpartition(".")
        if point == "input":
            inputs[scope] = value
            return
        if point == "output":
            value = value - inputs.pop(scope)
        wide = torch.promote_types(value.dtype, torch.float32)
        means[name] = value[0].mean(-2, keepdim=True, dtype=wide)

    points = [*names, *(name.replace("output", "input") for name in names if name.endswith("output"))]
    row_1T = as_row(model, ids)
    with evaluating(model), looking(model, *points, see=see):
        model.hidden(row_1T)
    return means


def _losses(model: GPT, ids_BT: Tensor) -> list[float]:
    """Return the mean loss of each row's tokens after the first, in nats."""
    with evaluating(model):
        hidden_BTC = model.hidden(ids_BT)
        log_probabilities_N, _ = of_targets(model, hidden_BTC[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())
    return (-log_probabilities_N.unflatten(0, (len(ids_BT), -1)).mean(1)).tolist()


def _require_way(by: str) -> None:
    if by not in ("zero", "mean"):
        raise InspectionError(f"by = {by!r} is not known. Choose 'zero' or 'mean'.")
