"""Text a model wrote, made fit for a terminal: an untrained one writes any byte, ESC and BEL among them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glassgpt.model.gpt import GPT

_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), "�")
del _CONTROL[ord("\n")], _CONTROL[ord("\t")]


def printable(text: str) -> str:
    """Replace the control characters that would move the cursor, change colours or ring the bell."""
    return text.translate(_CONTROL)


def shorten(text: str, most: int) -> str:
    """Cut a text longer than `most` characters, and show that it was."""
    return text if len(text) <= most else text[: most - 3] + "..."


def say_if_not_faster(model: GPT, weights: str) -> None:
    """With int8 weights where torch has no kernel for them, say that they save memory alone."""
    from glassgpt.model.int8 import has_integer_kernel

    if weights == "int8" and not has_integer_kernel(model.token_embedding.weight):
        print(
            "This device has no fast int8 product: the weights take less memory, not less time.",
            file=sys.stderr,
        )
