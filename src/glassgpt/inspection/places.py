"""How a model knows where a token stands: the vectors that it adds, or the angles by which it turns queries and keys.

    learned, sinusoidal    a vector for each position is added to the token's    `position_vectors`, `similarity`
    rotary                 each pair of a query and a key is turned              `rotations`, `decay`
    none                   nothing: order is seen only through what is visible

Legend: T positions, C = n_embd, D head width, E = D / 2 pairs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.model.gpt import GPT
from glassgpt.model.positions import rope_frequencies, rotation, sinusoids

NO_POSITIONS = (
    "It knows the order only through what each token sees, which the attention weights of a trace show."
)


class Rotations(NamedTuple):
    """By how much each pair is turned at each position, and after how many tokens it has turned once."""

    cos_TE: Tensor
    sin_TE: Tensor
    wavelengths_E: Tensor
    """2 pi / frequency, in tokens."""


@torch.inference_mode()
def position_vectors(model: GPT) -> Tensor:
    """Return the vector that is added at each position of the context, float32 (T, C).

    learned: the table. sinusoidal: the sines and cosines of Vaswani et al. (2017), section 3.5; the token's vector is
    multiplied by sqrt(C) before they are added. Raises `InspectionError` for a model that adds no such vectors.
    """
    config = model.config
    device = model.token_embedding.weight.device
    if config.positions == "learned":
        return model.position_embedding.weight.to(torch.float32, copy=True)
    if config.positions == "sinusoidal":
        return sinusoids(torch.arange(config.context_length, device=device), config.n_embd)
    if config.positions == "rotary":
        raise InspectionError(
            "This model adds no vectors for positions: it turns queries and keys. Use `rotations` and `decay`."
        )
    raise InspectionError(f"This model adds no vectors for positions. {NO_POSITIONS}")


@torch.inference_mode()
def rotations(model: GPT) -> Rotations:
    """Return the rotary tables of the context, cos and sin (T, E), and the wavelength of each pair in tokens, (E,).

    Pair e is made of the numbers e and e + D/2 of each query and key. At position t it is turned by t times its
    frequency (Su et al., 2021, "RoFormer", section 3.2.2), as `rope_theta` and `rope_scaling` say. Raises
    `InspectionError` for a model whose positions are not rotary.
    """
    frequencies_E = _frequencies(model)
    turn = rotation(torch.arange(model.config.context_length, device=frequencies_E.device), frequencies_E)
    return Rotations(turn.cos_TE, turn.sin_TE, 2 * math.pi / frequencies_E)


@torch.inference_mode()
def similarity(vectors_TC: Tensor) -> Tensor:
    """Return the cosine between each two of T vectors, (T, T): v_s . v_t / (|v_s| |v_t|); 0 where one is zero."""
    directions_TC = F.normalize(vectors_TC.float(), dim=-1)
    return directions_TC @ directions_TC.mT


@torch.inference_mode()
def decay(model: GPT, *, distances: int | None = None) -> Tensor:
    """Return how the product of a query and a key falls with their distance under rotary positions, (T,).

        decay_d = mean over e of cos(d f_e)        d = 0 to T - 1, f_e the frequency of pair e

    A query and a key with equal vectors whose pairs all have the same length have exactly decay_d times the product
    that they have at distance 0. Su et al. (2021), section 3.4.3, bound the product of any two vectors by averages of
    the same sums. T is the number of `distances`, without it that of the context. Raises `InspectionError` for a model
    whose positions are not rotary.
    """
    if distances is not None and distances < 1:
        raise InspectionError(f"distances = {distances}: it must be 1 or more.")
    frequencies_E = _frequencies(model)
    far_T = torch.arange(distances or model.config.context_length, device=frequencies_E.device)
    return rotation(far_T, frequencies_E).cos_TE.mean(-1)


def _frequencies(model: GPT) -> Tensor:
    positions = model.config.positions
    if positions != "rotary":
        way = NO_POSITIONS if positions == "none" else "Use `position_vectors` and `similarity`."
        raise InspectionError(f"This model does not turn queries and keys (positions = {positions!r}). {way}")
    return rope_frequencies(model.config, model.token_embedding.weight.device)
