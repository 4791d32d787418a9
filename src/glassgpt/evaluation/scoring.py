"""The log-probability that a model gives to a text, computed for many texts together.

    log p(continuation | context) = sum over its tokens t_i of log p(t_i | context, t_1 ... t_i-1)

Texts of similar length are computed together. A shorter one is padded at its end, which no earlier token can see.
Logits are computed only for the places of the continuations, and only a few at a time, so that a large vocabulary
costs little memory.

Legend: B texts, T tokens, C width, V vocabulary; N places whose next token is scored, of all B texts in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from glassgpt.errors import ConfigError
from glassgpt.generation.likelihood import LOGITS_BYTES, of_targets
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.summary import forward_bytes
from glassgpt.training.fits import refuse_measuring

BATCH_TOKENS = 4096
"""Largest number of tokens computed together, padding included."""


class Likelihood(NamedTuple):
    """How likely a continuation is: log p in nats, and whether each of its tokens is the likeliest."""

    log_probability: float
    greedy: bool


@torch.inference_mode()
def likelihoods(
    model: GPT, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, batch_tokens: int = BATCH_TOKENS
) -> list[Likelihood]:
    """Return how likely the continuation of each (context, continuation) is, in the order of the pairs.

    A context must have at least one token. Where both together are longer than the model's context, the oldest tokens
    of the context are left out; a continuation that is longer by itself is scored in windows (see `windows`). Raises
    `MemoryFullError` where a batch needs more memory than is free.
    """
    pieces = [
        (index, window)
        for index, pair in enumerate(pairs)
        for window in windows(*pair, model.config.context_length)
    ]
    sums, greedy = [0.0] * len(pairs), [True] * len(pairs)
    pieces.sort(key=lambda piece: len(piece[1].ids))
    batches = _batches([len(window.ids) for _, window in pieces], batch_tokens)
    _refuse_what_does_not_fit(model, [[len(window.ids) for _, window in pieces[batch]] for batch in batches])
    with evaluating(model):
        for batch in batches:
            scored = _score(model, [window for _, window in pieces[batch]])
            for (index, _), (log_probability, likeliest) in zip(pieces[batch], scored, strict=True):
                sums[index] += log_probability
                greedy[index] &= likeliest
    return [Likelihood(*both) for both in zip(sums, greedy, strict=True)]


class Window(NamedTuple):
    """A row of tokens; the last `scored` are predicted from those before them."""

    ids: list[int]
    scored: int


def windows(context: Sequence[int], continuation: Sequence[int], context_length: int) -> list[Window]:
    """Cut a pair into windows that predict each token of the continuation once, with all context that fits.

    A window has up to context_length + 1 tokens; the last token is only predicted. The first window predicts as much
    of the continuation as fits beside one token of context; the last window reaches back as far as it can.
    """
    if not context:
        raise ConfigError(
            "A continuation needs at least one token before it, from which its first token is predicted."
        )
    ids = [*context, *continuation]
    cut, done = [], len(context)
    while done < len(ids):
        end = min(len(ids), done + context_length)
        cut.append(Window(ids[max(0, end - context_length - 1) : end], end - done))
        done = end
    return cut


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[slice]:
    """Return slices of rows sorted by length; the rows of each fill about `batch_tokens`."""
    found, start = [], 0
    while start < len(lengths):
        end = start + 1
        while end < len(lengths) and lengths[end] * (end + 1 - start) <= batch_tokens:
            end += 1
        found.append(slice(start, end))
        start = end
    return found


def _refuse_what_does_not_fit(model: GPT, batches: Sequence[Sequence[int]]) -> None:
    """Check the batch that needs the most memory; `batches` are the lengths of the rows of each batch."""
    config, device = model.config, model.head_weight.device.type
    needs = [
        (
            forward_bytes(config, batch_size=len(batch), length=length, device=device, logits=LOGITS_BYTES),
            len(batch) * length,
        )
        for batch in batches
        if (length := max(batch) - 1)
    ]
    if needs:
        refuse_measuring(model, *max(needs))


def _score(model: GPT, rows: Sequence[Window]) -> list[tuple[float, bool]]:
    """Return the log-probability of the scored end of each row, and whether it is the greedy choice."""
    device = model.head_weight.device
    longest = max(len(row.ids) for row in rows)
    ids_BT = torch.tensor([row.ids + row.ids[:1] * (longest - len(row.ids)) for row in rows], device=device)
    scored_BT = torch.tensor(
        [
            [len(row.ids) - row.scored <= place + 1 < len(row.ids) for place in range(longest - 1)]
            for row in rows
        ],
        device=device,
    )
    hidden_NC = model.hidden(ids_BT[:, :-1])[scored_BT]
    log_probabilities_N, likeliest_N = of_targets(model, hidden_NC, ids_BT[:, 1:][scored_BT])
    sizes = [row.scored for row in rows]
    return [
        (of_row.sum().item(), bool(likeliest.all()))
        for of_row, likeliest in zip(log_probabilities_N.split(sizes), likeliest_N.split(sizes), strict=True)
    ]
