"""What each head does: does it attend to one of four places that are known from many models?

    previous     the token before                                        place t - 1
    first        the first token of the text                             place 0
    same         earlier occurrences of the current token                s < t with the same id
    induction    what followed earlier occurrences of the current token  the places after those

Attention to the first token is often rest: the head has found nothing to take. An induction head continues a text as
it went on before, and needs a head of an earlier layer that tells each token what stands before it (Elhage et al.,
2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al., 2022, "In-context Learning and Induction
Heads").

The score of a head for a pattern is a number from 0 to 1:

    mean over queries of (sum of the weights of the keys that the pattern predicts)

over the queries for which it predicts a key other than the query itself. `previous` and `first` are measured on the
given text, from its third token on: for the second token both are the same place. `same` and `induction` are measured
on rows of random ids that occur twice, where nothing but repetition can be found, with the text's first id before
them. There, one key is predicted for each token of the second half, and never the first place. A key that the
attention of the model does not see (sliding, strided) has the weight 0 and counts.

The label of a head is the pattern with the highest score, if that score reaches a threshold. `first` is the label only
if no other pattern reaches it: in a text where nothing occurs twice, an induction head rests on the first token all the
time.

What a head does on other texts may be something else, and the label describes where it looks, not what it moves.

Legend: B rows, T tokens, H query heads, K key/value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.evaluation.induction import repeated_rows
from glassgpt.inspection.attention import Pair
from glassgpt.inspection.checks import require_ids
from glassgpt.inspection.seen import as_row, mask_of
from glassgpt.model.attend import attention_weights
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.points import looking

PATTERNS = ("previous", "first", "same", "induction")
ON_TEXT, ON_ROWS = PATTERNS[:2], PATTERNS[2:]
"""The patterns that are measured on the given text, and those that are measured on repeated rows."""
THRESHOLD = 0.4
"""The lowest score that gives a label. There is no agreed value; this one is common. Attention that is spread evenly
scores 0.02 over 50 tokens, so 0.4 is far above chance, and a head that follows its pattern only for some tokens, or
rests in between, still gets its label."""
ROWS = 8
MOST_LENGTH = 50
"""Tokens of a row before it is repeated, where context, vocabulary and the window of the attention allow it."""
LEAST_LENGTH = 4


@dataclass(frozen=True)
class Head:
    """What one query head does."""

    layer: int
    head: int
    scores: dict[str, float]
    """From 0 to 1 for each of `PATTERNS`."""
    label: str | None
    """The pattern with the highest score among those that reach the threshold, or None; `first` only where it is the
    only one."""
    evidence: Pair | None
    """Where in the given text the head follows its pattern most clearly; None without a label, or where the text has no
    such place."""


@torch.inference_mode()
def label_heads(
    model: GPT,
    ids: Sequence[int],
    *,
    drawn: Iterable[int] | None = None,
    seed: int = 0,
    threshold: float = THRESHOLD,
) -> list[Head]:
    """Return what each head of each layer does, layer by layer.

    `drawn` are the ids of which random rows are made (default: the whole vocabulary), and the seed chooses among them.
    Half a row has up to `MOST_LENGTH` tokens, and fewer than a sliding or strided window, so that a repeated token sees
    its first occurrence; but `LEAST_LENGTH` or more.

    Raises `InspectionError` for a text of fewer than 3 tokens or more than the context, for drawn ids outside the
    vocabulary, and where context or vocabulary are too small for a repeated row.
    """
    row_1T = as_row(model, ids, least=3)
    rows_BT = _rows(model, ids, drawn, seed).to(row_1T.device)
    on_text, evidence = _on_text(model, row_1T)
    on_rows = _on_rows(model, rows_BT)
    found = []
    for layer in range(model.config.n_layer):
        for head in range(model.config.n_head):
            scores = {name: on_text[name][layer][head] for name in ON_TEXT}
            scores |= {name: on_rows[name][layer][head] for name in ON_ROWS}
            label = _label(scores, threshold)
            found.append(Head(layer, head, scores, label, evidence[label][layer][head] if label else None))
    return found


def predicted(pattern: str, ids_BT: Tensor) -> Tensor:
    """Return which keys a pattern predicts for each query, bool (B, T, T); never the query itself."""
    places_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    before_TT = places_T < places_T[:, None]
    if pattern == "previous":
        keys_TT = places_T == places_T[:, None] - 1
    elif pattern == "first":
        keys_TT = places_T == 0
    else:
        same_BTT = (ids_BT[:, :, None] == ids_BT[:, None]) & before_TT
        # The key after an earlier occurrence: each column moves one place to the right.
        return same_BTT if pattern == "same" else same_BTT.roll(1, dims=-1) & before_TT
    from_third_TT = before_TT & (places_T >= 2)[:, None]
    return (keys_TT & from_third_TT).expand(len(ids_BT), -1, -1)


def _label(scores: dict[str, float], threshold: float) -> str | None:
    reached = [name for name in PATTERNS if scores[name] >= threshold]
    active = [name for name in reached if name != "first"]
    return max(active or reached, key=scores.__getitem__, default=None)


def _rows(model: GPT, ids: Sequence[int], drawn: Iterable[int] | None, seed: int) -> Tensor:
    """Return rows of the text's first id and two equal halves, (B, 1 + 2 length)."""
    config = model.config
    allowed = np.unique(np.fromiter(range(config.vocab_size) if drawn is None else drawn, np.int64))
    require_ids(config, allowed.tolist())
    allowed = allowed[allowed != ids[0]]  # it begins each row, and must not occur again
    fits = min((config.context_length - 1) // 2, len(allowed))
    if fits < LEAST_LENGTH:
        raise InspectionError(
            f"Heads are measured on {LEAST_LENGTH} or more different tokens that occur twice after the text's first. "
            f"This needs a context of {2 * LEAST_LENGTH + 1} tokens (the model has {config.context_length}) and "
            f"{LEAST_LENGTH} other ids to draw from (there are {len(allowed)})."
        )
    reach = MOST_LENGTH if config.attention == "full" else max(LEAST_LENGTH, config.local_window - 1)
    rows = repeated_rows(allowed, min(fits, reach, MOST_LENGTH), rows=ROWS, seed=seed)
    return torch.from_numpy(np.insert(rows, 0, ids[0], axis=1))


def _on_text(
    model: GPT, row_1T: Tensor
) -> tuple[dict[str, list[list[float]]], dict[str, list[list[Pair | None]]]]:
    """Return the scores of the patterns that are measured on a text, and of all patterns the clearest pairs."""
    keys = {name: predicted(name, row_1T) for name in PATTERNS}
    scores: dict[str, list[list[float]]] = {name: [] for name in ON_TEXT}
    pairs: dict[str, list[list[Pair | None]]] = {name: [] for name in PATTERNS}

    def reduce(weights_BHTT: Tensor) -> None:
        for name in ON_TEXT:
            scores[name].append(_score(weights_BHTT, keys[name]))
        for name in PATTERNS:
            pairs[name].append([_clearest(weights_TT, keys[name][0]) for weights_TT in weights_BHTT[0]])

    _each_layer(model, row_1T, reduce)
    return scores, pairs


def _on_rows(model: GPT, rows_BT: Tensor) -> dict[str, list[list[float]]]:
    """Return the scores of the patterns that are measured on repeated rows."""
    keys = {name: predicted(name, rows_BT) for name in ON_ROWS}
    scores: dict[str, list[list[float]]] = {name: [] for name in ON_ROWS}

    def reduce(weights_BHTT: Tensor) -> None:
        for name in ON_ROWS:
            scores[name].append(_score(weights_BHTT, keys[name]))

    _each_layer(model, rows_BT, reduce)
    return scores


def _score(weights_BHTT: Tensor, keys_BTT: Tensor) -> list[float]:
    """Return the mean weight of the predicted keys for each head, over the queries that have any."""
    falls_BHT = (weights_BHTT * keys_BTT[:, None]).sum(-1, dtype=torch.float64)
    queries = int(keys_BTT.any(-1).sum())
    # Rounding can carry a sum a little above 1.
    return (falls_BHT.sum((0, 2)) / queries).clamp(0, 1).tolist()


def _clearest(weights_TT: Tensor, keys_TT: Tensor) -> Pair | None:
    """Return the predicted pair with the largest weight, the first of equal ones; None where none has any weight."""
    weights_TT = weights_TT * keys_TT
    query, key = divmod(int(weights_TT.argmax()), len(weights_TT))
    weight = float(weights_TT[query, key])
    return Pair(query, key, weight) if weight else None


def _each_layer(model: GPT, ids_BT: Tensor, reduce: Callable[[Tensor], None]) -> None:
    """Call `reduce` with the weights of each layer in turn, (B, H, T, T); they are not kept.

    They are computed from queries and keys, so that the model computes attention in its usual form, and what others
    replace in it stays replaced.
    """
    mask_TT = mask_of(model.config, ids_BT.shape[1], ids_BT.device)
    queries: list[Tensor] = []

    def see(name: str, value: Tensor) -> None:
        if name.endswith("queries"):
            queries.append(value)
        else:
            reduce(attention_weights(queries.pop(), value, mask_TT).float())

    with evaluating(model), looking(model, "blocks.*.queries", "blocks.*.keys", see=see):
        model.hidden(ids_BT)
