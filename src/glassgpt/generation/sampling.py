"""From logits to the next token: pure functions that compose, each the formula of its source.

Every filter takes logits (B, V) and returns logits (B, V) in which excluded tokens are -inf. `distribution` applies
the filters that the settings ask for, in a fixed order, and `draw` picks from the result. Nothing here knows about a
model or text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from glassgpt.errors import GenerationError
from glassgpt.idle import OnlyWith

TINY, MOST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is chosen."""

    temperature: float = 1.0
    """Divides the logits; 0 always takes the likeliest token (greedy)."""
    top_k: int = 0
    """Keep only the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of likeliest tokens whose probability reaches p; 1 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least min_p times as likely as the likeliest; 0 keeps all."""
    repetition_penalty: float = 1.0
    """Makes tokens that are already in the context less likely (more likely below 1); 1 does nothing."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(
            ("top_k", "top_p", "min_p"), "temperature", test=lambda chosen: chosen.temperature > 0, use="0.8"
        ),
    )

    def __post_init__(self) -> None:
        _check(0 <= self.temperature < math.inf, "temperature must be 0 (greedy) or more")
        _check(self.top_k >= 0, "top_k must be 0 (off) or more")
        _check(0 < self.top_p <= 1, "top_p must be above 0 and at most 1 (off)")
        _check(0 <= self.min_p <= 1, "min_p must be from 0 (off) to 1")
        _check(0 < self.repetition_penalty < math.inf, "repetition_penalty must be above 0 (1 is off)")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise GenerationError(f"{message}.")


def distribution(logits: Tensor, seen: Tensor, config: SamplingConfig) -> Tensor:
    """Return the probabilities (B, V) of the next token, given the ids (B, T) already in the context.

    Order: repetition penalty, temperature, top-k, top-p, min-p. Greedy gives a distribution with a single 1.
    """
    logits = logits.float()
    if config.repetition_penalty != 1.0:
        logits = penalize_repetition(logits, seen, config.repetition_penalty)
    if config.temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    # The largest logit becomes 0 first, so that a tiny temperature cannot make it infinite.
    logits = (logits - logits.amax(-1, keepdim=True)) / max(config.temperature, TINY)
    if config.top_k:
        logits = keep_top_k(logits, config.top_k)
    if config.top_p < 1:
        logits = keep_top_p(logits, config.top_p)
    if config.min_p > 0:
        logits = keep_min_p(logits, config.min_p)
    return logits.softmax(-1)


def draw(probabilities: Tensor, uniforms_B1: Tensor) -> Tensor:
    """Return the id (B, 1) at which each row's cumulative probabilities (B, V) first pass its number from [0, 1).

    One number decides one draw (inverse transform sampling), so a row's draws depend only on its own numbers, not on
    other rows. The sum runs in float64, which is exact enough for a whole vocabulary. A row whose sum is NaN gets an
    id past the end.
    """
    upto_BV = probabilities.cpu().cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(upto_BV, uniforms_B1 * upto_BV[:, -1:], right=True)


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens in `seen` (B, T) less likely (Keskar et al. 2019, "CTRL", section 4.1).

    Positive logits are divided by the penalty, negative ones multiplied by it. A result beyond float32 becomes its
    largest or smallest number, so that an extreme penalty does not look like a broken model.
    """
    penalty, scores = usable_penalty(penalty), logits.gather(-1, seen)
    changed = torch.where(scores > 0, scores / penalty, scores * penalty)
    changed = torch.where(scores.isfinite(), changed.clamp(-MOST, MOST), scores)  # -inf excludes a token
    return logits.scatter(-1, seen, changed)


def usable_penalty(penalty: float) -> float:
    """Return the number of float32 that is nearest to a penalty and neither 0 nor infinite."""
    return min(max(penalty, TINY), MOST)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k largest logits of each row (Fan et al. 2018), and all that equal the smallest of them."""
    k = min(k, logits.size(-1))
    edge = logits.topk(k).values[..., -1:]
    return logits.masked_fill(logits < edge, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest likeliest tokens whose probabilities reach p (Holtzman et al. 2020, "nucleus")."""
    ordered, order = logits.softmax(-1).sort(descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered  # probability of all likelier tokens
    exclude = torch.zeros_like(before, dtype=torch.bool).scatter_(-1, order, before >= p)
    return logits.masked_fill(exclude, float("-inf"))


def keep_min_p(logits: Tensor, min_p: float) -> Tensor:
    """Keep tokens at least `min_p` times as likely as the likeliest (Nguyen et al. 2024, "min-p")."""
    probabilities = logits.softmax(-1)
    edge = min_p * probabilities.amax(-1, keepdim=True)
    return logits.masked_fill(probabilities < edge, float("-inf"))
