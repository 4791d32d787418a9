"""Names in pictures: in a font that has their script, and shortened where no installed font has it.

matplotlib draws a box, and warns, for each character that its font lacks. It takes several fonts for one text, so
the first installed font that has a missing character is added. A name is never read as mathematics.
"""

from __future__ import annotations

import functools
import re
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


def drawable(names: Sequence[str]) -> list[str]:
    """Return names as they can be drawn: shortened in the middle, without characters that no font has.

    A name that becomes equal to another one, or is not left with a letter, gets its number in the list.
    """
    drawn = [_drawable(name) for name in names]
    return [
        f"{name} ({number})" if drawn.count(name) > 1 or not re.search(r"\w", name) else name
        for number, name in enumerate(drawn, start=1)
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


def _drawable(name: str) -> str:
    parts = groupby(readable(name), key=lambda char: _family_for(char) is not None or char == " ")
    kept = "".join("".join(chars) if has else "…" for has, chars in parts)
    half = (LONGEST - 1) // 2
    return kept if len(kept) <= LONGEST else f"{kept[:half].rstrip()}…{kept[-half:].lstrip()}"


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
