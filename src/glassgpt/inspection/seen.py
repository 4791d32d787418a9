"""Give ids to a model, and see the tensors at its named points; every module of this package begins here.

Legend: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.inspection.checks import require_ids
from glassgpt.model.attention import visible
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.points import looking

TOKENS_AT_ONCE = 4096
"""The most tokens of one batch, where it has more than one row."""


def as_row(model: GPT, ids: Sequence[int], *, least: int = 1) -> Tensor:
    """Return ids as a batch of one, (1, T), on the model's device.

    Raises `InspectionError` where they are fewer than `least`, more than the model's context holds, or outside its
    vocabulary: a GPU would stop the process at such an id.
    """
    most = model.config.context_length
    if len(ids) < least:
        raise InspectionError(
            f"The text has {len(ids)} token{'s' * (len(ids) != 1)}, and this needs {least} or more. Give a longer text."
        )
    if len(ids) > most:
        raise InspectionError(
            f"The text has {len(ids):,} tokens, and the model's context holds {most:,}. Give a shorter text."
        )
    require_ids(model.config, ids)
    return torch.tensor([list(ids)], device=model.token_embedding.weight.device)


def mask_of(config: ModelConfig, length: int, device: torch.device | None = None) -> Tensor:
    """Return which key each query of a text sees, bool (T, T)."""
    places_T = torch.arange(length, device=device)
    return visible(config, places_T, places_T)


@torch.inference_mode()
def seen(model: GPT, ids: Sequence[int], *names: str) -> dict[str, Tensor]:
    """Return the values at named points, or at patterns such as `blocks.*.mlp`, for one text.

    The axis of the batch is left out. `logits` (T, V) are always among them. Raises `InspectionError` for a text that
    the context does not hold, and `ConfigError` for a name that matches no point.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        # Cloned, because a view of a larger tensor (queries, keys and values are parts of one) would keep all of it.
        found[name] = value[0].clone()

    row_1T = as_row(model, ids)
    with evaluating(model), looking(model, *names, see=keep):
        found["logits"] = model(row_1T)[0]
    return found


@torch.inference_mode()
def losses(model: GPT, ids: Sequence[int]) -> Tensor:
    """Return the loss of each token after the first in nats, (T - 1,)."""
    with evaluating(model):
        logits_TV = model(as_row(model, ids, least=2))[0]
    return losses_of(logits_TV, ids)


def losses_of(logits_TV: Tensor, ids: Sequence[int]) -> Tensor:
    """Return -log p of each token after the first, (T - 1,): `logits_TV[t]` predicts the token t + 1."""
    targets_T = torch.tensor(list(ids[1:]), device=logits_TV.device)
    return F.cross_entropy(logits_TV[:-1].float(), targets_T, reduction="none")
