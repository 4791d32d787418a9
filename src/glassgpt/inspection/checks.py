"""What can be asked for: a layer, a head, a place of a text, an id. Anything else is named, with the way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glassgpt.errors import InspectionError
from glassgpt.model.config import ModelConfig


def require_layer(config: ModelConfig, layer: int) -> None:
    """Raise `InspectionError` where a model has no such layer."""
    if not 0 <= layer < config.n_layer:
        raise InspectionError(
            f"There is no layer {layer}: this model has the layers 0 to {config.n_layer - 1}."
        )


def require_head(config: ModelConfig, layer: int, head: int) -> None:
    """Raise `InspectionError` where a model has no such layer, or a layer no such query head."""
    require_layer(config, layer)
    if not 0 <= head < config.n_head:
        raise InspectionError(f"There is no head {head}: each layer has the heads 0 to {config.n_head - 1}.")


def require_ids(config: ModelConfig, ids: Iterable[int], *, what: str = "id") -> None:
    """Raise `InspectionError` for the first id that the vocabulary does not have."""
    unknown = next((id for id in ids if not 0 <= id < config.vocab_size), None)
    if unknown is not None:
        raise InspectionError(
            f"The {what} {unknown} is outside the vocabulary, which has the ids 0 to {config.vocab_size - 1:,}. "
            "Encode texts with the model's tokenizer."
        )


def place_of(ids: Sequence[int], place: int) -> int:
    """Return a place counted from the beginning; -1 is the last. Raises `InspectionError` outside the text."""
    if not -len(ids) <= place < len(ids):
        raise InspectionError(
            f"The text has no place {place}. Choose one from 0 to {len(ids) - 1}, or from -{len(ids)} to -1, counted "
            "from the end."
        )
    return place % len(ids)
