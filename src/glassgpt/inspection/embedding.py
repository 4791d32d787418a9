"""The token embedding as a space: which tokens are near a token, and a map of many of them.

A model knows its tokens only as rows of one matrix (and the tied head compares its result with the same rows). Tokens
that are used alike get similar rows. A row is the vector of a token before any position or context is added.

Legend: V vocabulary, N chosen ids, C = n_embd, A axes of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.inspection.checks import require_ids
from glassgpt.model.gpt import GPT

MOST_OF_A_MAP = 5000
"""The most ids of one map: more points could not be told apart in a picture."""
ROWS_AT_ONCE = 8192
"""Rows of the embedding that are converted to float32 at a time."""
NEARLY_LARGEST = 1e-6
"""Numbers of an axis whose size differs by less than this share of the largest count as equally large."""


@dataclass(frozen=True)
class Neighbour:
    """A token, and how similar its row is to that of another."""

    id: int
    similarity: float


@dataclass(frozen=True)
class Map:
    """Places of tokens along the directions in which their rows differ most."""

    ids: tuple[int, ...]
    points_NA: Tensor
    """The coordinates of each id, float32 (N, A) on the CPU; their mean is 0."""
    shares: tuple[float, ...]
    """How much of the whole variance each axis has, from 0 to 1."""


@torch.inference_mode()
def neighbours(
    model: GPT, id: int, *, most: int = 10, by: Literal["cosine", "dot"] = "cosine"
) -> list[Neighbour]:
    """Return the tokens whose rows are most similar to that of `id`, the most similar first; `id` is left out.

        dot       e_i . e_j
        cosine    e_i . e_j / (|e_i| |e_j|), and 0 where a row is zero

    The cosine compares directions only. The dot product is also large where a row is long. Equal similarities are in
    the order of their ids. Raises `InspectionError` for an id outside the vocabulary.
    """
    require_ids(model.config, [id])
    if most < 1:
        raise InspectionError(f"most = {most}: it must be 1 or more.")
    if by not in ("cosine", "dot"):
        raise InspectionError(f"by = {by!r} is not known. Choose cosine or dot.")
    rows_VC = model.token_embedding.weight
    row_C = rows_VC[id].float()
    similarities_V = torch.cat(
        [_similarities(part.float(), row_C, by) for part in rows_VC.split(ROWS_AT_ONCE)]
    )
    ordered, order = similarities_V.sort(descending=True, stable=True)
    pairs = zip(order.tolist(), ordered.tolist(), strict=True)
    return [Neighbour(other, similarity) for other, similarity in pairs if other != id][:most]


def _similarities(rows_NC: Tensor, row_C: Tensor, by: str) -> Tensor:
    dots_N = rows_NC @ row_C
    if by == "dot":
        return dots_N
    lengths_N = rows_NC.norm(dim=-1) * row_C.norm()
    return torch.where(lengths_N > 0, dots_N / lengths_N, 0.0)


@torch.inference_mode()
def map_of(model: GPT, ids: Sequence[int] | None = None, *, dimensions: int = 2) -> Map:
    """Return the principal components of the rows of `ids`, or of all ids (Pearson, 1901; Hotelling, 1933).

        X = rows - their mean        X^T X / N = U diag(l) U^T, l falling
        points = X U, of which the first A columns        share_a = l_a / sum of l

    So the map is the flat picture that loses least of the squared distances to the mean. It is computed in float64
    from the C x C covariance. An axis could as well point the other way; here the first of its largest numbers is
    positive (sizes that differ by less than a millionth count as equal), so a matrix always gives the same picture.
    An id that is given twice counts once.

    Raises `InspectionError` for ids outside the vocabulary, for fewer than 2, for more than 5,000 (also where `ids`
    are left out and the vocabulary is larger), and for more dimensions than C.
    """
    chosen = list(range(model.config.vocab_size)) if ids is None else list(dict.fromkeys(ids))
    require_ids(model.config, chosen)
    if not 2 <= len(chosen) <= MOST_OF_A_MAP:
        raise InspectionError(
            f"A map has from 2 to {MOST_OF_A_MAP:,} different ids, and these are {len(chosen):,}. Choose some, such as "
            "those of a text."
        )
    width = model.config.n_embd
    if not 1 <= dimensions <= width:
        raise InspectionError(f"dimensions = {dimensions}: this embedding has from 1 to {width}.")
    rows_NC = model.token_embedding.weight[chosen].cpu().double()
    rows_NC -= rows_NC.mean(0)
    variances_C, axes_CC = torch.linalg.eigh(rows_NC.mT @ rows_NC / len(chosen))  # rising
    variances_C, axes_CC = variances_C.flip(0).clamp(min=0), axes_CC.flip(1)
    total = float(variances_C.sum())
    shares = [float(variance) / total if total else 0.0 for variance in variances_C[:dimensions]]
    axes_CA = _turned(axes_CC[:, :dimensions])
    return Map(tuple(chosen), (rows_NC @ axes_CA).float(), tuple(shares))


def _turned(axes_CA: Tensor) -> Tensor:
    """Return the axes, each turned so that the first of its largest numbers is positive."""
    sizes_CA = axes_CA.abs()
    largest_CA = sizes_CA >= (1 - NEARLY_LARGEST) * sizes_CA.amax(0)
    first_1A = largest_CA.int().argmax(0, keepdim=True)  # of equal ones, the first
    return axes_CA * axes_CA.gather(0, first_1A).sign()
