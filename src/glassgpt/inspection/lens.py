"""The logit lens: what a model would predict if it ended after each of its blocks (nostalgebraist, 2020).

    p_l = softmax(head(final norm(x_l)))        x_l: the residual stream at depth l

Every block adds to the same stream, and only its end is read by the head. Reading it earlier shows at which depth a
prediction appears ("interpreting GPT: the logit lens"). Depth 0 is the stream after the embedding, depth l the stream
after l blocks, and the last depth is the model's own prediction. Early depths need not be written in the terms that the
head reads; `tuned_lens` learns a translation for each.

Results are a few numbers for each depth and token. The logits of all depths are never in memory together: they are
computed for one depth and some of the tokens at a time.

Legend: N depths, T tokens, M likeliest ids, P tokens at a time, C = n_embd, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.generation.likelihood import LOGITS_AT_ONCE
from glassgpt.inspection.seen import seen
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating

Translate = Callable[[str, Tensor], Tensor]
"""Called with the name of a point and its stream (P, C); returns the stream that the final norm reads, (P, C)."""


@dataclass(frozen=True)
class Lens:
    """What is predicted at each depth of a model. All tensors are on the CPU."""

    names: tuple[str, ...]
    """The point of `model.points` at each depth: `embedding`, `blocks.0.output` and so on."""
    ids: tuple[int, ...]
    likeliest: Tensor
    """The likeliest next ids, the likeliest first, int64 (N, T, M)."""
    probabilities: Tensor
    """Their probabilities, (N, T, M)."""
    following: Tensor
    """The probability of the token that really follows, (N, T - 1)."""
    ranks: Tensor
    """How many ids are likelier than the token that really follows, int64 (N, T - 1)."""
    entropy: Tensor
    """Entropy of the prediction in nats, (N, T); 0 is certain, log V is no preference."""
    divergence: Tensor
    """KL divergence from the model's own prediction p to that of the depth q in nats, sum p log(p / q), (N, T)."""


def logit_lens(model: GPT, ids: Sequence[int], *, most: int = 5, middle: bool = False) -> Lens:
    """Return what the model predicts at each depth, through its own final norm and head.

    `most` is the number of likeliest ids. `middle` adds the stream between attention and MLP of each block. Raises
    `InspectionError` for a text that the context does not hold and for `most` below 1.
    """
    return through(model, ids, most=most, middle=middle)


@torch.inference_mode()
def through(
    model: GPT, ids: Sequence[int], *, most: int = 5, middle: bool = False, translate: Translate | None = None
) -> Lens:
    """Return what the model predicts at each depth, where `translate` first maps the stream of each.

    Without it this is the logit lens. The divergence is always from the model's own prediction. Raises
    `InspectionError` as `logit_lens` does.
    """
    if most < 1:
        raise InspectionError(f"The lens shows the {most} likeliest ids. Ask for 1 or more.")
    names = depths(model.config, middle=middle)
    streams = seen(model, ids, *names)
    del streams["logits"]
    following_T = torch.tensor(list(ids[1:]), device=model.token_embedding.weight.device)
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    read = []
    with evaluating(model):
        for start in range(0, len(ids), at_once):
            places = slice(start, start + at_once)
            own_PV = log_predictions(model, streams[names[-1]][places])
            for name in names:
                x_PC = streams[name][places]
                log_p_PV = log_predictions(model, translate(name, x_PC) if translate else x_PC)
                read.append(_facts(log_p_PV, own_PV, following_T[places], most))
    return Lens(names, tuple(ids), *_joined(read, len(names)))


def depths(config: ModelConfig, *, middle: bool = False) -> tuple[str, ...]:
    """Return the names of the points where the stream is read, from the embedding to the last block."""
    of_block = ("middle", "output") if middle else ("output",)
    return ("embedding", *(f"blocks.{layer}.{name}" for layer in range(config.n_layer) for name in of_block))


def log_predictions(model: GPT, x_PC: Tensor) -> Tensor:
    """Return the log-probabilities of all ids if the model ended with this stream, (P, V)."""
    return log_probabilities(model.logits(model.final_norm(x_PC)))


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the log-softmax over the last axis in float32, or in float64 for a model of that precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def divergence(own_PV: Tensor, log_p_PV: Tensor) -> Tensor:
    """Return KL(own || p) of each row in nats from the logarithms of both, (P,)."""
    return (own_PV.exp() * (own_PV - log_p_PV)).sum(-1)


@dataclass(frozen=True)
class _Facts:
    """The tensors of a `Lens`, in the same order, for one depth and some tokens."""

    likeliest: Tensor
    probabilities: Tensor
    following: Tensor
    ranks: Tensor
    entropy: Tensor
    divergence: Tensor


def _facts(log_p_PV: Tensor, own_PV: Tensor, following_F: Tensor, most: int) -> _Facts:
    """Reduce predictions to a few numbers; the last token of a text has none that follows, so F is P or P - 1."""
    top = log_p_PV.topk(min(most, log_p_PV.shape[-1]))
    predicting_FV = log_p_PV[: len(following_F)]
    log_p_F1 = predicting_FV.gather(1, following_F[:, None])
    found = (
        top.indices,
        top.values.exp(),
        log_p_F1[:, 0].exp(),
        (predicting_FV > log_p_F1).sum(-1),
        -(log_p_PV.exp() * log_p_PV).sum(-1),
        divergence(own_PV, log_p_PV).clamp(min=0),  # only rounding makes it negative
    )
    return _Facts(*(tensor.cpu() for tensor in found))


def _joined(read: list[_Facts], depths: int) -> list[Tensor]:
    """Join what was read, all depths of the first tokens before all depths of the next, to (N, T, ...)."""
    fields = [field.name for field in dataclasses.fields(_Facts)]
    return [
        torch.stack(
            [torch.cat([getattr(facts, name) for facts in read[depth::depths]]) for depth in range(depths)]
        )
        for name in fields
    ]
