"""The loss no model can beat, where it is known.

The built-in stories come from a grammar whose entropy H is known exactly. Their text is an injective image of the
choices made, so no model can spend fewer than H bits per story on average. Divided by the tokens (or bytes) of a
story here, that is the floor of the loss curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from glassgpt.dataset.shards import TokenSplit


@dataclass(frozen=True, slots=True)
class Floor:
    """The lowest possible loss on the validation split."""

    loss: float  # nats a token
    bits_per_byte: float


def known_floor(sources: tuple[str, ...], split: TokenSplit) -> Floor | None:
    """Return the floor when every source is the built-in story world, else None."""
    if not sources or not all(name.startswith("builtin:tinytales") for name in sources):
        return None
    from glassgpt.corpus.tinytales.generate import entropy_bits

    bits = entropy_bits() * split.documents
    return Floor(bits * math.log(2) / len(split), bits / split.text_bytes)
