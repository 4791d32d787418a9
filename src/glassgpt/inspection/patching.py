"""Where a model carries what decides between two answers: activation patching between two texts.

Two texts of equal length differ in a few tokens, and so the model prefers another token after them. "clean" leads to
the wanted answer, "corrupted" to another. The corrupted text is run again and again, each time with one value taken
from the clean run. Where that brings the wanted answer back, the value carries what decides:

    restored = (patched - corrupted) / (clean - corrupted)      of the measure  logit(wanted) - logit(unwanted)

at the last place: 0 where the value changes nothing, 1 where it restores the clean measure in full. It can lie outside
of this range. (Meng et al., 2022, "Locating and Editing Factual Associations in GPT", where the values are called
states and the method causal tracing; Wang et al., 2022, "Interpretability in the Wild", for the difference of logits.)

This direction, clean values in a corrupted run, finds what is enough to bring the answer back, not all that is needed
for it; call `patch` with the texts exchanged for the other direction (Heimersheim and Nanda, 2024, "How to use and
interpret activation patching").

Legend: L layers, B rows, T tokens, H query heads, D head width, C = n_embd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glassgpt.errors import InspectionError, did_you_mean
from glassgpt.generation.likelihood import LOGITS_AT_ONCE
from glassgpt.inspection.checks import require_ids
from glassgpt.inspection.seen import TOKENS_AT_ONCE, as_row
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.points import looking

OF_PLACES = ("input", "attention", "middle", "mlp", "output")
POINTS = (*OF_PLACES, "heads")
"""The points of each block that can be patched (see `model.points`): one place at a time, or one head at a time."""


@dataclass(frozen=True)
class Patched:
    """What patching restored, and the measures between which it lies."""

    points: str
    restored: Tensor
    """(L, T): each place of each layer; or (L, H): each head of each layer. float32."""
    clean: float
    """logit(wanted) - logit(unwanted) after the clean text."""
    corrupted: float
    """The same after the corrupted text."""


@torch.inference_mode()
def patch(
    model: GPT,
    clean: Sequence[int],
    corrupted: Sequence[int],
    *,
    wanted: int,
    unwanted: int,
    points: str = "output",
) -> Patched:
    """Return how much of the clean measure each value restores, (L, T), or (L, H) for `points="heads"`.

    `points` is one of `POINTS`: the residual stream before (`input`), within (`middle`) or after (`output`) each block,
    or what its `attention` or `mlp` adds, all at one place at a time; or the output of one of its `heads`, at all
    places at once. The corrupted text is run once for each number of the result, many rows in one batch.

    Raises `InspectionError` for other points, for texts of different lengths or longer than the context, for ids
    outside the vocabulary, and where the measure is the same after both texts.
    """
    if points not in POINTS:
        raise InspectionError(
            f"`{points}` cannot be patched.{did_you_mean(points, POINTS, most=1)} Choose from {', '.join(POINTS)}."
        )
    clean_1T, corrupted_1T = _rows(model, clean, corrupted, wanted, unwanted)
    answers = (wanted, unwanted)
    values: dict[str, Tensor] = {}
    with looking(model, f"blocks.*.{points}", see=lambda name, value: values.__setitem__(name, value[0])):
        of_clean = _measure(model, clean_1T, answers)[0]
    of_corrupted = _measure(model, corrupted_1T, answers)[0]
    gap = float(of_clean - of_corrupted)
    _require_gap(model, gap, max(abs(float(of_clean)), abs(float(of_corrupted))))
    restored = [
        (_with_patches(model, corrupted_1T, answers, name, value) - of_corrupted) / gap
        for name, value in values.items()
    ]
    return Patched(points, torch.stack(restored).float().cpu(), float(of_clean), float(of_corrupted))


def _with_patches(model: GPT, row_1T: Tensor, answers: tuple[int, int], name: str, clean: Tensor) -> Tensor:
    """Return the measures of runs that each take one clean value at a point: of each head, or at each place.

    `clean` is the value of the clean run, (H, T, D) or (T, C); its first axis is the one of the result.
    """
    at_once = max(1, min(TOKENS_AT_ONCE // row_1T.shape[1], LOGITS_AT_ONCE // model.config.vocab_size))
    measures = []
    for chosen_B in torch.arange(len(clean), device=row_1T.device).split(at_once):

        def see(_name: str, value: Tensor, chosen_B: Tensor = chosen_B) -> Tensor:
            patched = value.clone()
            patched[torch.arange(len(chosen_B), device=value.device), chosen_B] = clean[chosen_B]
            return patched

        with looking(model, name, see=see):
            measures.append(_measure(model, row_1T.expand(len(chosen_B), -1), answers))
    return torch.cat(measures)


def _measure(model: GPT, ids_BT: Tensor, answers: tuple[int, int]) -> Tensor:
    """Return logit(wanted) - logit(unwanted) after each row, float64 (B,)."""
    with evaluating(model):
        logits_BV = model.logits(model.hidden(ids_BT)[:, -1])
    wanted, unwanted = answers
    return logits_BV[:, wanted].double() - logits_BV[:, unwanted].double()


def _rows(
    model: GPT, clean: Sequence[int], corrupted: Sequence[int], wanted: int, unwanted: int
) -> tuple[Tensor, Tensor]:
    """Return both texts as batches of one, (1, T), after checking them and the answers."""
    if len(clean) != len(corrupted):
        raise InspectionError(
            f"The clean text has {len(clean)} tokens and the corrupted one {len(corrupted)}. Patching needs texts of "
            "equal length: change words to others with as many tokens."
        )
    require_ids(model.config, (*clean, *corrupted, wanted, unwanted))
    return as_row(model, clean), as_row(model, corrupted)


def _require_gap(model: GPT, gap: float, largest: float) -> None:
    # A gap of the size of rounding would turn noise into results.
    noise = 16 * torch.finfo(model.token_embedding.weight.dtype).eps * max(1.0, largest)
    if not abs(gap) > noise:
        raise InspectionError(
            "The measure, logit(wanted) - logit(unwanted), is the same after both texts, so there is nothing to "
            "restore. Choose texts after which the model prefers different answers, or other answers."
        )
