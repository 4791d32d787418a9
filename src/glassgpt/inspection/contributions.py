"""Direct logit attribution: a logit as the sum of what each part of the model writes for it.

    x = token + position + sum over heads + sum over MLPs             the residual stream before the final norm
    logit = u . norm(x) + bias = sum over parts of d . part + biases

Each head and MLP only adds to the stream, and the head of the model reads its end (Elhage et al., 2021, "A Mathematical
Framework for Transformer Circuits"). Only the final norm is not linear. Its scale s is frozen at its value for this
token; then the norm is linear too, and a part counts by its product with one direction d (as in Wang et al., 2022,
"Interpretability in the Wild", section 3):

    RMSNorm      d = s (weight * u)                                  s = 1 / sqrt(mean(x²) + epsilon)
    LayerNorm    d = s (weight * u - mean of weight * u)             s = 1 / sqrt(variance(x) + epsilon)

where u is the row of the head for the target (less the row for another id). What a part does by changing the input of
later parts is not in its number: that is their own. `ablation` and `patching` measure the whole effect of a part.

Legend: C = n_embd, H query heads, D head width, F MLP width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glassgpt.errors import InspectionError
from glassgpt.inspection.attribution import differentiable
from glassgpt.inspection.checks import place_of, require_ids, require_layer
from glassgpt.inspection.seen import as_row
from glassgpt.model.gpt import GPT
from glassgpt.model.layers import RMSNorm
from glassgpt.model.points import looking
from glassgpt.model.positions import sinusoids


@dataclass(frozen=True)
class Contribution:
    """What one part of the model adds to a logit."""

    kind: str
    """token | position | head | attention bias | mlp | final norm bias | output bias (of the model's head)."""
    layer: int | None
    """The block that it belongs to, if it is part of a block."""
    head: int | None
    """The attention head that it is, if it is one."""
    value: float


@dataclass(frozen=True)
class Contributions:
    """A logit, or the difference of two, and the parts whose sum it is."""

    place: int
    """The token after which the target would follow, counted from 0."""
    target: int
    against: int | None
    """The id whose logit is subtracted, if there is one."""
    logit: float
    """The logit of the target as the model computes it, less that of `against`."""
    parts: tuple[Contribution, ...]
    """In the order of the model: the token, the position, then of each block the heads, the bias, the MLP."""

    @property
    def total(self) -> float:
        """The sum of the parts: the logit, up to rounding."""
        return math.fsum(part.value for part in self.parts)


@dataclass(frozen=True)
class Neurons:
    """The neurons of one MLP that count most for a logit."""

    layer: int
    neurons: tuple[int, ...]
    """The neurons with the largest contributions, whether positive or negative, the largest first."""
    values: tuple[float, ...]
    """What each adds to the logit."""
    activations: tuple[float, ...]
    """How active each is: the input of the MLP's last matrix."""
    total: float
    """What all neurons of the MLP add, those that are not listed included."""
    bias: float
    """What the bias of the MLP's last matrix adds; with `total` it is the MLP's contribution."""


def contributions(
    model: GPT, ids: Sequence[int], *, place: int = -1, target: int, against: int | None = None
) -> Contributions:
    """Return what each part of the model adds to the target's logit at a place, with its final norm's scale frozen.

    With `against`, the difference of the two logits. Biases are parts where the model has them; that of an MLP's last
    matrix belongs to the MLP. The sum of the parts is the logit, up to the rounding of the model's precision. Raises
    `InspectionError` for a text that the context does not hold, a place outside it, an id outside the vocabulary, a
    norm from another package, and weights that have no gradients (see `attribution.differentiable`).
    """
    reading = _read(model, ids, place, target, against, "blocks.*.heads", "blocks.*.mlp")
    along = reading.along
    parts = [Contribution("token", None, None, along(reading.token_C))]
    if reading.position_C is not None:
        parts.append(Contribution("position", None, None, along(reading.position_C)))
    for layer in range(model.config.n_layer):
        parts += _of_attention(model, reading, layer)
        parts.append(Contribution("mlp", layer, None, along(reading.values[f"blocks.{layer}.mlp"])))
    if model.config.norm_bias:
        parts.append(Contribution("final norm bias", None, None, reading.norm_bias))
    if model.config.head_bias:
        parts.append(Contribution("output bias", None, None, reading.output_bias))
    return Contributions(reading.place, target, against, reading.logit, tuple(parts))


def by_neuron(
    model: GPT,
    ids: Sequence[int],
    *,
    layer: int,
    place: int = -1,
    target: int,
    against: int | None = None,
    most: int = 10,
) -> Neurons:
    """Return the neurons of one MLP that count most for the target's logit at a place.

        value of neuron f = its activation * (column f of the MLP's last matrix) . d

    with d as in `contributions`. Raises `InspectionError` as that does, and for a layer that the model does not have.
    """
    require_layer(model.config, layer)
    if most < 1:
        raise InspectionError(f"The {most} largest neurons are none. Ask for 1 or more.")
    point = f"blocks.{layer}.neurons"
    reading = _read(model, ids, place, target, against, point)
    down = model.blocks[layer].get_submodule("mlp.down")
    neurons_F = reading.values[point]
    values_F = _exact(neurons_F) * _pulled_back(model, down, neurons_F, reading.direction_C)
    chosen = values_F.abs().topk(min(most, len(values_F))).indices
    return Neurons(
        layer,
        tuple(chosen.tolist()),
        tuple(values_F[chosen].tolist()),
        tuple(_exact(neurons_F)[chosen].tolist()),
        float(values_F.sum()),
        reading.along(_at_zero(down, neurons_F)),
    )


@dataclass(frozen=True)
class _Reading:
    """One pass at one place, and the direction along which the logit reads the stream."""

    place: int
    logit: float
    values: dict[str, Tensor]
    token_C: Tensor
    position_C: Tensor | None
    direction_C: Tensor
    """d of the module's docstring, float64 on the CPU."""
    norm_bias: float
    output_bias: float

    def along(self, part_C: Tensor) -> float:
        """Return what a part of the stream adds to the logit."""
        return float(_exact(part_C) @ self.direction_C)


def _read(
    model: GPT, ids: Sequence[int], place: int, target: int, against: int | None, *points: str
) -> _Reading:
    """Give the ids up to a place to the model, and keep the named points at this place."""
    require_ids(model.config, [target], what="target")
    if against is not None:
        require_ids(model.config, [against], what="id that is compared")
    as_row(model, ids)  # refuses what the context does not hold, before the place is looked for
    place = place_of(ids, place)
    last = f"blocks.{model.config.n_layer - 1}.output"
    values: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        # The batch has one row. Heads are (B, H, T, D) and all others (B, T, C): the last token is the place.
        values[name] = value[0, ..., -1, :].detach().clone()

    with differentiable(model), torch.no_grad():
        row_1T = as_row(model, ids[: place + 1])
        with looking(model, last, "final", *points, see=keep):
            logits_V = model(row_1T, then=lambda model, hidden_BTC: model.logits(hidden_BTC[0, -1]))
        token_C, position_C = _embedded(model, row_1T[0, -1], place)
    wanted_V = torch.zeros(model.config.vocab_size, dtype=torch.float64)
    wanted_V[target] += 1
    if against is not None:
        wanted_V[against] -= 1
    u_C = _pulled_back(model, model.logits, values["final"], wanted_V)
    return _Reading(
        place, _difference(logits_V, target, against), values, token_C, position_C,
        _through_norm(model.final_norm, _exact(values[last]), u_C),
        float(_exact(_at_zero(model.final_norm, values[last])) @ u_C),
        _difference(_at_zero(model.logits, values["final"]), target, against),
    )  # fmt: skip


def _of_attention(model: GPT, reading: _Reading, layer: int) -> list[Contribution]:
    """Return what each head of a layer adds through its columns of the output matrix, and what the bias adds."""
    output = model.blocks[layer].get_submodule("attention.output")
    heads_HD = reading.values[f"blocks.{layer}.heads"]
    direction_HD = _pulled_back(model, output, heads_HD.flatten(), reading.direction_C).view(heads_HD.shape)
    values_H = (_exact(heads_HD) * direction_HD).sum(-1)
    parts = [Contribution("head", layer, head, value) for head, value in enumerate(values_H.tolist())]
    if model.config.attention_bias:
        bias = reading.along(_at_zero(output, heads_HD.flatten()))
        parts.append(Contribution("attention bias", layer, None, bias))
    return parts


def _embedded(model: GPT, id: Tensor, place: int) -> tuple[Tensor, Tensor | None]:
    """Return what the token and its position add to the stream, (C,) each; `GPT.embed` adds the same two."""
    token_C, position = model.token_embedding(id), torch.tensor(place, device=id.device)
    if model.config.positions == "learned":
        return token_C, model.position_embedding(position)
    if model.config.positions == "sinusoidal":
        width = model.config.n_embd
        return token_C * math.sqrt(width), sinusoids(position[None], width)[0].type_as(token_C)
    return token_C, None


def _through_norm(norm: nn.Module, x_C: Tensor, u_C: Tensor) -> Tensor:
    """Return the direction along which u . norm(x) reads x while the norm's scale stays as it is for x, (C,)."""
    if isinstance(norm, RMSNorm):
        return u_C * _exact(norm.weight) * (x_C.square().mean() + norm.epsilon).rsqrt()
    if isinstance(norm, nn.LayerNorm):
        weighted_C = u_C * _exact(norm.weight)
        return (weighted_C - weighted_C.mean()) * (x_C.var(correction=0) + norm.eps).rsqrt()
    raise InspectionError(
        f"The final norm is of the type {type(norm).__name__}, and only a LayerNorm or an RMSNorm can be split "
        "into parts. Use ablation or patching for this model."
    )


def _pulled_back(
    model: GPT, linear: Callable[[Tensor], Tensor], like_I: Tensor, direction_O: Tensor
) -> Tensor:
    """Return the direction along which `linear`'s input moves its output along `direction_O`, float64 (I,).

    That is its matrix, transposed, times the direction. The matrix is not read, because a layer may hold it in another
    form: in 8 bits, or with a correction beside it.
    """
    with differentiable(model):
        x_I = torch.zeros_like(like_I, requires_grad=True)
        # Not passed to `grad` as a direction: torch would import sympy for that, which takes 0.7 s.
        along = (linear(x_I) * direction_O.to(like_I)).sum()
        return _exact(torch.autograd.grad(along, x_I)[0])


@torch.no_grad()
def _at_zero(linear: Callable[[Tensor], Tensor], like_I: Tensor) -> Tensor:
    """Return the bias of a linear layer or a norm: its output for zeros."""
    return linear(torch.zeros_like(like_I))


def _difference(logits_V: Tensor, target: int, against: int | None) -> float:
    of_target = float(logits_V[target])
    return of_target if against is None else of_target - float(logits_V[against])


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()
