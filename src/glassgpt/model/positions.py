"""Encoding a token's position: sinusoids added to embeddings, or rotations of queries and keys.

Attention alone sees a set, not a sequence. (Learned positions are a plain embedding table, in `gpt`.)
Nothing here is stored in the model: the tables are computed from the positions in a few small operations.
They are float32 whatever the model's precision, so they are not in a checkpoint and never lose digits.

Legend: B batch, T tokens, C = n_embd, H heads, D = width of a head, E = D / 2 pairs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from glassgpt.model.config import ModelConfig, require_known


def frequencies(width: int, theta: float, device: torch.device | None = None) -> Tensor:
    """Return the angle by which each pair turns per token, (width / 2,) in float32.

    Pair e turns by theta^(-2e / width): the first pair turns fastest, the last hardly at all.
    """
    pairs_E = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    return theta ** (-pairs_E / width)


def rope_frequencies(config: ModelConfig, device: torch.device | None = None) -> Tensor:
    """Return the frequencies of a model's rotations, (E,), slowed down as its `rope_scaling` says.

    linear: all are slowed by the factor (Chen et al., 2023, "Position Interpolation"). llama3 (Llama 3.1's
    configuration): waves that turn fewer than `rope_low_frequency` times within the original length are
    slowed by the factor, those that turn more than `rope_high_frequency` times are not slowed, and those in
    between are slowed in proportion.
    """
    require_known(config, "model/positions.py", rope_scaling=("none", "linear", "llama3"))
    plain_E = frequencies(config.head_dim, config.rope_theta, device)
    slowed_E = plain_E / config.rope_factor
    if config.rope_scaling != "llama3":
        return plain_E if config.rope_scaling == "none" else slowed_E
    turns_E = plain_E * (config.rope_original_length or config.context_length) / (2 * math.pi)
    low, high = config.rope_low_frequency, config.rope_high_frequency
    kept_E = ((turns_E - low) / (high - low)).clamp(0, 1)
    return kept_E * plain_E + (1 - kept_E) * slowed_E


def angles(positions_T: Tensor, frequencies_E: Tensor) -> Tensor:
    """Return position times frequency, (T, E) in float32; positions may have leading axes."""
    return positions_T.float().unsqueeze(-1) * frequencies_E


def sinusoids(positions_T: Tensor, width: int) -> Tensor:
    """Return the fixed encoding of Vaswani et al. (2017), section 3.5: (T, width) in float32.

    Even columns are sin(angle), odd ones cos(angle) of the same pair.
    """
    angles_TE = angles(positions_T, frequencies(width, 10000.0, positions_T.device))
    return torch.stack((angles_TE.sin(), angles_TE.cos()), dim=-1).flatten(-2)


def positions_in(segments_BT: Tensor) -> Tensor:
    """Return each token's position in its segment, (B, T), from 0; a row's segment numbers never fall."""
    return torch.arange(segments_BT.shape[1], device=segments_BT.device) - torch.searchsorted(
        segments_BT, segments_BT
    )


class Rotation(NamedTuple):
    """Cosine and sine of each pair's angle at each position in float32: (T, E), or (B, 1, T, E) where rows differ."""

    cos_TE: Tensor
    sin_TE: Tensor


def rotation(positions_T: Tensor, frequencies_E: Tensor) -> Rotation:
    """Return the rotary tables of the given positions, (T,) or (B, T) (Su et al., 2021, "RoFormer")."""
    angles_TE = angles(positions_T, frequencies_E)
    if positions_T.dim() > 1:
        angles_TE = angles_TE.unsqueeze(-3)  # the same for all heads
    return Rotation(angles_TE.cos(), angles_TE.sin())


def rotate(x_BHTD: Tensor, by: Rotation) -> Tensor:
    """Turn each pair of numbers in each head's vector by its position's angle; lengths do not change.

    The dot product of a rotated query and a rotated key depends only on the distance between them. Number e
    is paired with number e + D/2, as Llama and Qwen do in the Hugging Face format. (The paper pairs
    neighbours; the two differ only in the order of the columns.)
    """
    a_BHTE, b_BHTE = x_BHTD.chunk(2, dim=-1)
    turned_a = a_BHTE * by.cos_TE - b_BHTE * by.sin_TE
    turned_b = b_BHTE * by.cos_TE + a_BHTE * by.sin_TE
    return torch.cat((turned_a, turned_b), dim=-1).type_as(x_BHTD)
