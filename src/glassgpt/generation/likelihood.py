"""The log-probabilities of given ids, from the model's own logits.

    log p(id) = logit of the id - log of the sum of exp(logits)

Logits are computed for a few places at a time, so that a large vocabulary costs little memory.

Legend: N places, C width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glassgpt.generation.requests import Chosen
from glassgpt.model.gpt import GPT

LOGITS_AT_ONCE = 1 << 22
"""Largest number of logits held at a time: 16 MB."""
LOGITS_BYTES = 3 * 4 * LOGITS_AT_ONCE
"""Their bytes: the logits themselves, and the copies from which maximum and sum are computed."""


def of_targets(model: GPT, hidden_NC: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return each target's log-probability, float64 (N,) on the CPU, and whether it has the largest logit."""
    log_probabilities, likeliest = [], []
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for hidden, targets in zip(hidden_NC.split(at_once), targets_N.split(at_once), strict=True):
        logits = model.logits(hidden).float()
        of_target = logits.gather(1, targets[:, None])[:, 0]
        log_probabilities.append((of_target - logits.logsumexp(1)).cpu().double())
        likeliest.append((logits.argmax(1) == targets).cpu())
    return torch.cat(log_probabilities), torch.cat(likeliest)


def chosen_after(model: GPT, hidden_NC: Tensor, targets_N: Tensor, count: int) -> list[Chosen]:
    """Return each target with its log-probability, and the `count` likeliest ids in its place."""
    found: list[Chosen] = []
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for hidden, targets in zip(hidden_NC.split(at_once), targets_N.split(at_once), strict=True):
        found += chosen_among(model.logits(hidden), targets.tolist(), count)
    return found


@torch.inference_mode()
def chosen_among(logits_NV: Tensor, ids: list[int], count: int) -> list[Chosen]:
    """Return the id chosen in each row with its log-probability, and the `count` likeliest ids."""
    logits_NV = logits_NV.float()
    total_N1 = logits_NV.logsumexp(1, keepdim=True)
    of_id_N1 = logits_NV.gather(1, torch.tensor(ids, device=logits_NV.device)[:, None])
    of_ids = (of_id_N1 - total_N1)[:, 0].tolist()
    if not count:
        return [Chosen(id, of_id) for id, of_id in zip(ids, of_ids, strict=True)]
    largest_NK, ids_NK = logits_NV.topk(min(count, logits_NV.shape[1]))
    rows = zip(ids_NK.tolist(), (largest_NK - total_N1).tolist(), strict=True)
    return [
        Chosen(id, of_id, tuple(zip(*row, strict=True)))
        for id, of_id, row in zip(ids, of_ids, rows, strict=True)
    ]
