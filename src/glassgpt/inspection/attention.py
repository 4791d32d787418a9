"""Where the heads of a traced text attend: the strongest pairs, how spread and how far, and all layers together.

The weights of a head are rows of a distribution: how much the token at a query place takes from each key place. They
are T x T numbers for each head, so they are computed for one layer at a time and reduced to what is asked for.

A large weight is not yet an influence: what is taken may be a small value, and most heads rest on the first token when
they find nothing to take (Xiao et al., 2023, "Efficient Streaming Language Models with Attention Sinks").
`ablation` and `patching` measure influence.

The first token sees only itself. Its row is the same in every head, so pairs and means leave it out.

Legend: L layers, H query heads, T tokens; the axes of a T x T table are queries, then keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.inspection.checks import require_head
from glassgpt.inspection.trace import Trace


@dataclass(frozen=True)
class Pair:
    """How much one token attends to another: places in the text from 0, and the weight from 0 to 1."""

    query: int
    key: int
    weight: float


def strongest(
    traced: Trace, layer: int, head: int, most: int = 10, *, without_first: bool = False
) -> list[Pair]:
    """Return the `most` pairs of a head with the largest weights, the largest first.

    Only keys that the query sees are paired; of equal weights, earlier places come first. The row of the first token
    is left out, and with `without_first` also every pair whose key is the first token, where many heads rest.
    Raises `InspectionError` for a layer or a head that the model does not have, and where `most` is below 1.
    """
    require_head(traced.config, layer, head)
    if most < 1:
        raise InspectionError(f"most = {most}: ask for 1 pair or more.")
    chosen_TT = traced.mask.clone()
    chosen_TT[0] = False
    if without_first:
        chosen_TT[:, 0] = False
    queries_N, keys_N = chosen_TT.nonzero(as_tuple=True)
    weights_N, order_N = traced.weights(layer)[head][chosen_TT].sort(descending=True, stable=True)
    kept_N = order_N[:most]
    found = zip(queries_N[kept_N].tolist(), keys_N[kept_N].tolist(), weights_N[:most].tolist(), strict=True)
    return [Pair(query, key, weight) for query, key, weight in found]


def entropy(traced: Trace) -> Tensor:
    """Return how spread the attention of each head is, (L, H), in nats.

        mean over queries of (-sum over keys of w log w)

    0 means that each query attends to a single key, log n that it attends to n keys equally (Vig and Belinkov, 2019,
    "Analyzing the Structure of Attention in a Transformer Language Model"). The mean leaves out the first token's row,
    whose entropy is 0 whatever the head does. Raises `InspectionError` for a text of one token.
    """
    _require_two(traced)
    return torch.stack(
        [torch.special.entr(traced.weights(layer)[:, 1:]).sum(-1).mean(-1) for layer in _layers(traced)]
    )


def distance(traced: Trace) -> Tensor:
    """Return how far each head looks back, (L, H), in tokens.

        mean over queries t of (sum over keys s of w (t - s))

    0 means that each token attends to itself, and a head that attends to the token before has 1 (Vig and Belinkov,
    2019, the paper named at `entropy`). The mean leaves out the first token's row, which cannot look back. Raises
    `InspectionError` for a text of one token.
    """
    _require_two(traced)
    places_T = torch.arange(len(traced))
    back_TT = (places_T[1:, None] - places_T).float()
    return torch.stack(
        [(traced.weights(layer)[:, 1:] * back_TT).sum(-1).mean(-1) for layer in _layers(traced)]
    )


def rollout(traced: Trace) -> Tensor:
    """Return attention rollout: how much of each place after a layer comes from each place of the text, (L, T, T).

        rollout_0 = A_0        rollout_l = A_l rollout_(l - 1)        A_l = 0.5 W_l + 0.5 I

    W_l is the mean of the weights of all heads in layer l, and I stands for the residual connection. Each row is a
    distribution over the tokens of the text (Abnar and Zuidema, 2020, "Quantifying Attention Flow in Transformers",
    section 3 and equation 1). It is an estimate from the weights alone: it knows neither the values nor the MLPs, and
    takes attention and residual connection to be equally strong.
    """
    rolled_LTT = torch.empty(traced.config.n_layer, len(traced), len(traced))
    reached_TT = torch.eye(len(traced))
    for layer in _layers(traced):
        reached_TT = 0.5 * (traced.weights(layer).mean(0) @ reached_TT) + 0.5 * reached_TT
        rolled_LTT[layer] = reached_TT
    return rolled_LTT


def _layers(traced: Trace) -> range:
    return range(traced.config.n_layer)


def _require_two(traced: Trace) -> None:
    if len(traced) < 2:
        raise InspectionError(
            "The text has 1 token, which can only attend to itself. Trace a text of 2 tokens or more."
        )
