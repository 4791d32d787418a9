"""Answers as one self-contained page: readable without a network, in light and dark, by keyboard and screen reader.

What a model or a person wrote is text in it, never markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from glassgpt.explaining.shapes import Answer, Bars, Grid, Rows, Words
from glassgpt.runs.markup import page_template

KINDS = {Words: "words", Bars: "bars", Grid: "grid", Rows: "rows"}
MOST_CELLS = 4096
"""Cells of a grid up to which each is an element that says its number; a larger grid shows its last tokens."""


def page(answers: Sequence[Answer], *, name: str, text: str) -> str:
    """Return the page of some answers about a text that the run `name` has read."""
    filters = {
        "kind": lambda shown: KINDS[type(shown)],
        "size": lambda share: f"{abs(share):.0%}",
        "side": lambda share: "less" if share < 0 else "more",
        "fitting": fitting,
    }
    template = page_template("glassgpt.explaining", "page.html.jinja", filters)
    return template.render(answers=answers, name=name, text=text)


def fitting(grid: Grid, cells: int = MOST_CELLS) -> Grid:
    """Return the last part of a grid that has at most this many cells; see `Grid.last`."""
    if len(grid.rows) * len(grid.columns) <= cells:
        return grid
    return grid.last(int(cells**0.5) if grid.rows == grid.columns else max(1, cells // len(grid.rows)))
