"""Text a model wrote, made fit for a terminal: an untrained one writes any byte, ESC and BEL among them."""

from __future__ import annotations

_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), "�")
del _CONTROL[ord("\n")], _CONTROL[ord("\t")]


def printable(text: str) -> str:
    """Replace the control characters that would move the cursor, change colours or ring the bell."""
    return text.translate(_CONTROL)


def shorten(text: str, most: int) -> str:
    """Cut a text longer than `most` characters, and show that it was."""
    return text if len(text) <= most else text[: most - 3] + "..."
