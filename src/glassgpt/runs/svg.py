"""Figures as SVG inside a page: sharp at every size, with text that can be selected, in the page's colours.

The colours become CSS variables, which the page sets for a light and a dark ground.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from glassgpt.runs.plots import FLOOR, MEASURED, TRAINING, VALIDATION, any_script

VARIABLES = {
    TRAINING: "training",
    MEASURED: "measured",
    VALIDATION: "validation",
    FLOOR: "floor",
    "#000000": "ink",
    "#b0b0b0": "grid",
}
LETTERS = 12.0
"""Size of the letters in units of the picture."""
NARROW, WIDE = (300, 250), (640, 380)
"""Width and height in the same units. A phone shows the narrow one at about its own size, so letters have 11 px."""


def inline_svg(
    draw: Callable[[tuple[float, float]], Figure], size: tuple[int, int], *, salt: str, label: str
) -> str:
    """Draw a figure of a size in inches and return it as an element of a page.

    `salt` must differ between the pictures of a page, so that their inner names do; `label` is the id of the element
    that describes the picture.
    """
    inches = (size[0] / 72, size[1] / 72)
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": LETTERS}
    with mpl.rc_context(settings), any_script():
        figure, buffer = draw(inches), io.StringIO()
        figure.patch.set_visible(False)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _for_a_page(buffer.getvalue(), size, label)


def _for_a_page(svg: str, size: tuple[int, int], label: str) -> str:
    """Return a file of matplotlib as an element: without header, needless ids and fonts, its colours as variables."""
    inner = svg[svg.index(">", svg.index("<svg")) + 1 :].strip()
    inner = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", inner, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', inner))
    inner = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", inner)
    inner = re.sub(r"<defs>\s*</defs>", "", inner).replace("xlink:href", "href")
    inner = re.sub(r'(style="[^"]*?)font-family: [^;"]*(?:; )?', r"\1", inner)
    inner = re.sub(
        r'style="[^"]*"',
        lambda style: re.sub("#[0-9a-f]{6}", lambda color: _variable(color[0]), style[0]),
        inner,
    )
    return (
        f'<svg class="{"narrow" if size[0] < 400 else "wide"}" viewBox="0 0 {size[0]} {size[1]}" role="img" '
        f'aria-labelledby="{label}">{inner}'
    )


def _variable(color: str) -> str:
    return f"var(--{VARIABLES[color]})" if color in VARIABLES else color
