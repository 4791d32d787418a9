"""What excites a neuron: the places in many texts where it is most active.

A neuron is one of the F numbers in the middle of an MLP (the point `neurons`). It is read from a token's vector, and
its value decides how much of one column of `mlp.down` is added to the residual stream. The texts that make it large
are the quickest way to see what it stands for, and a warning too: what excites it most may be only a part of what it
reacts to (Bolukbasi et al., 2021, "An Interpretability Illusion for BERT").

The memory does not grow with the number of texts: of each neuron only the best places are kept, with the ids around
them. A text has at most one of these places, so that a single text does not fill them all.

Legend: B texts of one batch, T tokens, F chosen neurons, P kept places, W ids of a window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.inspection.checks import require_ids, require_layer
from glassgpt.inspection.seen import TOKENS_AT_ONCE
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.points import looking

NO_ID = -1
"""Stands in a window for places before and after the text."""


@dataclass(frozen=True)
class Place:
    """One token of one text, and the value of a neuron there."""

    text: int
    """Number of the text, from 0."""
    place: int
    """Place of the token in the text, from 0."""
    value: float
    ids: tuple[int, ...]
    """The ids around the place, itself included."""
    at: int
    """Where in `ids` the place is."""


@dataclass(frozen=True)
class Neuron:
    """What one neuron did in all the texts."""

    index: int
    highest: tuple[Place, ...]
    """The places with the largest values, the largest first; at most one of each text."""
    lowest: Place
    """The place with the smallest value."""
    mean: float
    """Mean over all tokens."""
    share_above_zero: float
    """Share of all tokens where the value is above 0."""
    tokens: int
    """Number of tokens of all texts."""


@torch.inference_mode()
def excited_by(
    model: GPT,
    texts: Iterable[Sequence[int]],
    layer: int,
    *,
    neurons: Sequence[int] | None = None,
    most: int = 5,
    around: int = 8,
) -> list[Neuron]:
    """Return what excites each of `neurons` of one layer's MLP, or all of its neurons, in the order given.

    Each text is a sequence of ids, of which the first `context_length` are read; an empty text has a number
    but no places. `around` is the number of ids that are shown on each side of a place. Equal values are in the order
    of the texts: the earlier text comes first, and within a text the earlier place is taken. (Texts that begin alike
    have equal values there only up to rounding, which depends on the sizes of the batches.)

    Raises `InspectionError` for a layer or a neuron that the model does not have, for an id outside the vocabulary,
    for `most` below 1, for `around` below 0, and where no text has a token.
    """
    chosen = _chosen(model, layer, neurons)
    if most < 1 or around < 0:
        raise InspectionError(f"most = {most} must be 1 or more, and around = {around} must be 0 or more.")
    device = model.token_embedding.weight.device
    record = _Record(len(chosen), most, around)
    columns_F = torch.tensor(chosen, device=device)
    with evaluating(model):
        for numbers, rows in _batches(model, texts):
            values_BTF = _values(model, layer, _padded(rows, 0).to(device), columns_F)
            record.add(values_BTF, numbers, rows)
    if not record.tokens:
        raise InspectionError("There is no token in the texts. Give at least one text that is not empty.")
    return record.neurons(chosen)


def _chosen(model: GPT, layer: int, neurons: Sequence[int] | None) -> list[int]:
    width = model.config.mlp_width
    require_layer(model.config, layer)
    chosen = list(range(width)) if neurons is None else list(neurons)
    for neuron in chosen:
        if not 0 <= neuron < width:
            raise InspectionError(
                f"There is no neuron {neuron}: each layer has the neurons 0 to {width - 1}."
            )
    return chosen


def _batches(model: GPT, texts: Iterable[Sequence[int]]) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Yield the numbers and the ids of some texts at a time, each cut to the context; empty ones are left out."""
    numbers: list[int] = []
    rows: list[list[int]] = []
    longest = 0
    for number, text in enumerate(texts):
        row = list(text[: model.config.context_length])
        if not row:
            continue
        require_ids(model.config, row, what=f"id (of text {number})")
        longest = max(longest, len(row))
        if rows and (len(rows) + 1) * longest > TOKENS_AT_ONCE:
            yield numbers, rows
            numbers, rows, longest = [], [], len(row)
        numbers.append(number)
        rows.append(row)
    if rows:
        yield numbers, rows


def _padded(rows: list[list[int]], filler: int) -> Tensor:
    """Return rows of one length, (B, T). The padding comes after the text, where no token of the text sees it."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def _values(model: GPT, layer: int, ids_BT: Tensor, columns_F: Tensor) -> Tensor:
    found: list[Tensor] = []
    with looking(model, f"blocks.{layer}.neurons", see=lambda _, value: found.append(value[..., columns_F])):
        model.hidden(ids_BT)  # without the logits, which would be many more numbers
    return found[0].float().cpu()


class _Record:
    """What is kept of the texts so far: the best places of each neuron, its lowest place, and sums."""

    def __init__(self, neurons: int, most: int, around: int) -> None:
        self.most, self.around, self.tokens = most, around, 0
        self.sums_F = torch.zeros(neurons, dtype=torch.float64)
        self.above_F = torch.zeros(neurons, dtype=torch.int64)
        self.highest = _Places.none(neurons, around)
        self.lowest = _Places.none(neurons, around)  # their values are negated: the smallest is the highest

    def add(self, values_BTF: Tensor, numbers: list[int], rows: list[list[int]]) -> None:
        """Take in a batch; values after the end of a text do not count."""
        lengths_B = torch.tensor([len(row) for row in rows])
        after_BT1 = (torch.arange(values_BTF.shape[1]) >= lengths_B[:, None])[..., None]
        counted_BTF = values_BTF.masked_fill(after_BT1, 0.0)
        self.tokens += int(lengths_B.sum())
        self.sums_F += counted_BTF.sum((0, 1), dtype=torch.float64)
        self.above_F += (counted_BTF > 0).sum((0, 1))
        windows_BTW = _windows(_padded(rows, NO_ID), self.around)
        texts_B = torch.tensor(numbers)
        for places, signed_BTF, most in (
            (self.highest, values_BTF, self.most),
            (self.lowest, -values_BTF, 1),
        ):
            inside_BTF = signed_BTF.masked_fill(after_BT1, -math.inf)
            places.join(_Places.best_of(inside_BTF, texts_B, windows_BTW, most), most)

    def neurons(self, chosen: list[int]) -> list[Neuron]:
        """Return what was found."""
        return [
            Neuron(
                index,
                tuple(self.highest.listed(row)),
                self.lowest.listed(row, sign=-1)[0],
                float(self.sums_F[row]) / self.tokens,
                int(self.above_F[row]) / self.tokens,
                self.tokens,
            )
            for row, index in enumerate(chosen)
        ]


@dataclass
class _Places:
    """Some places of each neuron, the highest value first."""

    values_FP: Tensor
    texts_FP: Tensor
    places_FP: Tensor
    windows_FPW: Tensor

    @classmethod
    def none(cls, neurons: int, around: int) -> _Places:
        nothing_F0 = torch.zeros(neurons, 0, dtype=torch.int64)
        return cls(
            nothing_F0.float(), nothing_F0, nothing_F0, nothing_F0[..., None].expand(-1, -1, 2 * around + 1)
        )

    @classmethod
    def best_of(cls, values_BTF: Tensor, texts_B: Tensor, windows_BTW: Tensor, most: int) -> _Places:
        """Return the first highest place of each text, of the `most` texts where it is highest."""
        values_BF, places_BF = values_BTF.max(1)  # of equal ones, the first
        values_FP, rows_FP = _largest(values_BF.mT, most)
        places_FP = places_BF.mT.gather(1, rows_FP)
        return cls(values_FP, texts_B[rows_FP], places_FP, windows_BTW[rows_FP, places_FP])

    def join(self, later: _Places, most: int) -> None:
        """Keep the `most` highest of these and of later texts' places."""
        self.values_FP, kept_FP = _largest(torch.cat((self.values_FP, later.values_FP), 1), most)
        rows_F1 = torch.arange(len(kept_FP))[:, None]
        self.texts_FP = torch.cat((self.texts_FP, later.texts_FP), 1)[rows_F1, kept_FP]
        self.places_FP = torch.cat((self.places_FP, later.places_FP), 1)[rows_F1, kept_FP]
        self.windows_FPW = torch.cat((self.windows_FPW, later.windows_FPW), 1)[rows_F1, kept_FP]

    def listed(self, row: int, *, sign: int = 1) -> list[Place]:
        """Return the places of one neuron."""
        found = []
        around = self.windows_FPW.shape[-1] // 2
        parts = (self.values_FP, self.texts_FP, self.places_FP, self.windows_FPW)
        for value, text, place, window in zip(*(part[row].tolist() for part in parts), strict=True):
            ids = tuple(id for id in window if id != NO_ID)
            found.append(Place(text, place, sign * value, ids, min(place, around)))
        return found


def _windows(ids_BT: Tensor, around: int) -> Tensor:
    """Return the ids around each place, (B, T, W), with `NO_ID` beyond the ends."""
    return F.pad(ids_BT, (around, around), value=NO_ID).unfold(1, 2 * around + 1, 1)


def _largest(values_FN: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row and their columns, (F, P); of equal values the first come first."""
    values_FN, order_FN = values_FN.sort(dim=1, descending=True, stable=True)
    return values_FN[:, :most], order_FN[:, :most]
