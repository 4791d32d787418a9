"""Names in pictures and pages: shortened, told apart, and drawn in a font that has their script.

matplotlib draws a box, and warns, for each character that its font lacks. It takes several fonts for one text, so
the first installed font that has a missing character is added. What no font has is left out. A name is never read as
mathematics.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from glassgpt.runs.records import readable

USUAL = "DejaVu Sans"
"""The font that comes with matplotlib."""
LONGEST = 44
"""The most characters of a name in a picture."""


def shortened(text: str, most: int = LONGEST) -> str:
    """Return a text from outside on one line, with the middle of a long one left out: its ends tell names apart."""
    text = " ".join(readable(text).split())
    half = most // 2
    return text if len(text) <= most else f"{text[:half].rstrip()}…{text[half - most + 1 :].lstrip()}"


def drawable(text: str, most: int = LONGEST) -> str:
    """Return a text from outside as it can be drawn: shortened, without characters that no font has."""
    parts = groupby(readable(text), key=lambda char: char.isspace() or _family_for(char) is not None)
    return shortened("".join("".join(chars) if has else "…" for has, chars in parts), most)


def told_apart(names: Sequence[str]) -> list[str]:
    """Return names that were shortened; those that became equal, or show nothing, get their number in the list."""
    return [
        f"{name} ({number})".lstrip() if names.count(name) > 1 or not _shows_anything(name) else name
        for number, name in enumerate(names, start=1)
    ]


def letter(text: Text) -> None:
    """Give a text of a picture the fonts for its characters, and let it be nothing but letters."""
    text.set_parse_math(False)
    families = [USUAL]
    for char in dict.fromkeys(text.get_text()):
        family = _family_for(char)
        if family is not None and family not in families:
            families.append(family)
    text.set_fontfamily(families)


def _shows_anything(name: str) -> bool:
    return any(char.isprintable() and char not in "… " for char in name)


@functools.cache
def _family_for(char: str) -> str | None:
    """Return the name of an installed font with a character, the usual one first; None where no font has it."""
    fonts = font_manager.fontManager.ttflist
    usual = [font for font in fonts if font.name == USUAL]
    for font in [*usual, *([] if char.isascii() else fonts)]:
        if ord(char) in _characters(font.fname):
            return font.name
    return None


@functools.cache
def _characters(path: str) -> frozenset[int]:
    """Return the code points of a font; none for one that cannot be read or drawn in one colour, or has only boxes."""
    if any(kind in Path(path).name for kind in ("Emoji", "LastResort")):
        return frozenset()
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
