"""Telling the model where a token stands: sinusoids added to embeddings, or rotations of queries and keys.

Attention alone sees a set, not a sequence. (Learned positions are a plain embedding table, in `gpt`.)
Nothing here is stored in the model: the tables follow from the positions in a few small operations, in
float32 whatever the model's precision, so they need no place in a checkpoint and never lose digits.

Legend: B batch, T tokens, C = n_embd, H heads, D = width of a head, E = D / 2 pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def angles(positions_T: Tensor, width: int, theta: float) -> Tensor:
    """Return position times frequency, (T, width / 2) in float32; positions may have more axes before T.

    Pair e turns by theta^(-2e / width) a token: the first fastest, the last almost not at all.
    """
    pairs_E = torch.arange(0, width, 2, device=positions_T.device, dtype=torch.float32)
    frequencies_E = theta ** (-pairs_E / width)
    return positions_T.float().unsqueeze(-1) * frequencies_E


def sinusoids(positions_T: Tensor, width: int) -> Tensor:
    """Return the fixed encoding of Vaswani et al. (2017), section 3.5: (T, width) in float32.

    Even columns are sin(angle), odd ones cos(angle) of the same pair.
    """
    angles_TE = angles(positions_T, width, 10000.0)
    return torch.stack((angles_TE.sin(), angles_TE.cos()), dim=-1).flatten(-2)


def positions_in(segments_BT: Tensor) -> Tensor:
    """Return each token's place in its own segment, (B, T), from 0; a row's segment numbers never fall."""
    return torch.arange(segments_BT.shape[1], device=segments_BT.device) - torch.searchsorted(
        segments_BT, segments_BT
    )


class Rotation(NamedTuple):
    """Cosine and sine of each pair's angle at each position, (T, E) in float32."""

    cos_TE: Tensor
    sin_TE: Tensor


def rotation(positions_T: Tensor, head_dim: int, theta: float) -> Rotation:
    """Return the rotary tables of the given positions (Su et al., 2021, "RoFormer")."""
    angles_TE = angles(positions_T, head_dim, theta)
    return Rotation(angles_TE.cos(), angles_TE.sin())


def rotate(x_BHTD: Tensor, by: Rotation) -> Tensor:
    """Turn each pair of numbers in each head's vector by its position's angle; lengths do not change.

    The product of a rotated query and a rotated key depends on the distance between them alone. Number e
    is paired with number e + D/2, as Llama and Qwen do in the Hugging Face format (the paper pairs
    neighbours; the two differ by a fixed order of the columns).
    """
    a_BHTE, b_BHTE = x_BHTD.chunk(2, dim=-1)
    turned_a = a_BHTE * by.cos_TE - b_BHTE * by.sin_TE
    turned_b = b_BHTE * by.cos_TE + a_BHTE * by.sin_TE
    return torch.cat((turned_a, turned_b), dim=-1).type_as(x_BHTD)
