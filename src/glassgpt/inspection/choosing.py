"""What sampling does to a distribution, step by step: from the model's logits to what the next token is drawn from.

The steps are those of `generation.sampling.distribution`, in its order: repetition penalty, temperature, top-k, top-p,
min-p. Penalty and filters are the sampler's own functions, and the last step has exactly the probabilities that the
sampler draws from.

Legend: V vocabulary, P shown ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.generation.sampling import (
    TINY,
    SamplingConfig,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
)

Name = Literal["raw", "repetition penalty", "temperature", "top-k", "top-p", "min-p", "greedy"]


@dataclass(frozen=True)
class Choice:
    """The distribution after one step."""

    step: Name
    left: int
    """Number of tokens whose probability is above 0 in float32. (After a low temperature many are rounded to 0.)"""
    entropy: float
    """-sum_v p_v log p_v, in nats."""
    likeliest: tuple[tuple[int, float], ...]
    """The likeliest ids that are left with their probabilities; equally likely ones in the order of their ids."""
    removed: tuple[int, ...]
    """Those of the likeliest ids of the step before that this step removed."""
    removed_share: float
    """The probability that all the removed tokens had together in the step before."""


@torch.inference_mode()
def steps_of(
    logits_V: Tensor, config: SamplingConfig, *, seen: Sequence[int] = (), most: int = 20
) -> list[Choice]:
    """Return the distribution after each step that `config` asks for; the first is the model's own, `raw`.

    `seen` are the ids of the context, which the repetition penalty is about. `most` is the number of the likeliest ids
    that are listed. The last step has exactly the probabilities of `generation.sampling.distribution`. Temperature 0 is
    the one step `greedy`, which leaves the likeliest token.

    Raises `InspectionError` for logits that are no distribution, for seen ids outside the vocabulary, and for
    `most` below 1.
    """
    _check(logits_V, seen, most)
    found: list[Choice] = []
    before_V: Tensor | None = None
    for name, now_V in _distributions(logits_V, config, seen):
        shown = [id for id, _ in found[-1].likeliest] if found else []
        found.append(_choice(name, now_V, before_V, shown, most))
        before_V = now_V
    return found


def _distributions(
    logits_V: Tensor, config: SamplingConfig, seen: Sequence[int]
) -> Iterator[tuple[Name, Tensor]]:
    """Yield each step with the probabilities after it, float32 (V,) on the CPU."""
    logits_1V = logits_V.float()[None]
    yield "raw", _probabilities(logits_1V)
    if config.repetition_penalty != 1.0:
        ids_1T = torch.tensor([list(seen)], dtype=torch.int64, device=logits_V.device)
        logits_1V = penalize_repetition(logits_1V, ids_1T, config.repetition_penalty)
        yield "repetition penalty", _probabilities(logits_1V)
    if config.temperature == 0:
        yield (
            "greedy",
            torch.zeros_like(logits_1V).scatter_(-1, logits_1V.argmax(-1, keepdim=True), 1.0)[0].cpu(),
        )
        return
    logits_1V = (logits_1V - logits_1V.amax(-1, keepdim=True)) / max(config.temperature, TINY)
    if config.temperature != 1.0:
        yield "temperature", _probabilities(logits_1V)
    filters: tuple[tuple[Name, bool, Callable[[Tensor], Tensor]], ...] = (
        ("top-k", config.top_k > 0, lambda logits: keep_top_k(logits, config.top_k)),
        ("top-p", config.top_p < 1, lambda logits: keep_top_p(logits, config.top_p)),
        ("min-p", config.min_p > 0, lambda logits: keep_min_p(logits, config.min_p)),
    )
    for name, asked, keep in filters:
        if asked:
            logits_1V = keep(logits_1V)
            yield name, _probabilities(logits_1V)


def _probabilities(logits_1V: Tensor) -> Tensor:
    # The largest is subtracted as `distribution` does, so that a step without further ones has the same bits.
    return (logits_1V - logits_1V.amax(-1, keepdim=True)).softmax(-1)[0].cpu()


def _choice(name: Name, now_V: Tensor, before_V: Tensor | None, shown: Sequence[int], most: int) -> Choice:
    likeliest_P = now_V.sort(descending=True, stable=True).indices[:most]
    pairs = zip(likeliest_P.tolist(), now_V[likeliest_P].tolist(), strict=True)
    return Choice(
        step=name,
        left=int((now_V > 0).sum()),
        entropy=float(torch.special.entr(now_V.double()).sum()),
        likeliest=tuple((id, probability) for id, probability in pairs if probability > 0),
        removed=tuple(id for id in shown if now_V[id] == 0),
        removed_share=0.0 if before_V is None else float(before_V[now_V == 0].double().sum()),
    )


def _check(logits_V: Tensor, seen: Sequence[int], most: int) -> None:
    if logits_V.dim() != 1 or not len(logits_V):
        raise InspectionError(
            f"These logits have the shape {tuple(logits_V.shape)}. Give those of one token, (V,)."
        )
    if not torch.isfinite(logits_V.amax()) or logits_V.isnan().any():
        raise InspectionError(
            "These logits are no distribution: a number is NaN or infinite, or all are -inf."
        )
    for id in seen:
        if not 0 <= id < len(logits_V):
            raise InspectionError(
                f"The id {id} in `seen` is outside these logits, which have the ids 0 to {len(logits_V) - 1}."
            )
    if most < 1:
        raise InspectionError(f"most = {most}: it must be 1 or more.")
