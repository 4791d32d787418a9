"""Answers as one self-contained page: readable without a network, in light and dark, by keyboard and screen reader.

What a model or a person wrote is text in it, never markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2

from glassgpt.explaining.shapes import Answer, Bars, Grid, Rows, Words
from glassgpt.runs.records import readable

KINDS = {Words: "words", Bars: "bars", Grid: "grid", Rows: "rows"}
MOST_CELLS = 4096
"""Cells of a grid up to which each is an element that says its number; a larger grid shows its last tokens."""


def page(answers: Sequence[Answer], *, name: str, text: str) -> str:
    """Return the page of some answers about a text that the run `name` has read."""
    return _template().render(answers=answers, name=name, text=text)


def _template() -> jinja2.Template:
    text = resources.files("glassgpt.explaining").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_readable
    )
    environment.filters |= {
        "kind": lambda shown: KINDS[type(shown)],
        "size": lambda share: f"{abs(share):.0%}",
        "side": lambda share: "less" if share < 0 else "more",
        "fitting": fitting,
    }
    return environment.from_string(text)


def _readable(value: Any) -> Any:
    return readable(value) if type(value) is str else value


def fitting(grid: Grid, cells: int = MOST_CELLS) -> Grid:
    """Return a grid of at most so many cells: its last columns, and where rows are tokens, too, its last rows."""
    rows, columns = len(grid.rows), len(grid.columns)
    if rows * columns <= cells:
        return grid
    if rows == columns:
        rows = columns = int(cells**0.5)
    else:
        columns = max(1, cells // rows)
    return Grid(
        f"{grid.caption} The last {columns} of {len(grid.columns)} tokens.",
        grid.rows[-rows:],
        grid.columns[-columns:],
        tuple(row[-columns:] for row in grid.shares[-rows:]),
        tuple(row[-columns:] for row in grid.texts[-rows:]),
    )
