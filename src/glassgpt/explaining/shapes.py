"""What an answer is made of: words with a number each, bars, grids and tables. A terminal and a page both show them.

Numbers come with the text that people read, and with a `share` from -1 to 1 that says how strongly to colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALL = "all"
"""What `--what` calls all questions together."""


@dataclass(frozen=True)
class Words:
    """The pieces of a text, each above a short note."""

    caption: str
    pieces: tuple[str, ...]
    notes: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Bars:
    """Names with a number each, drawn as bars from a common zero."""

    caption: str
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Grid:
    """Numbers in rows and columns, drawn as a picture. `texts` are shown in the cells, if there are any."""

    caption: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    texts: tuple[tuple[str, ...], ...] = ()

    def last(self, count: int) -> Grid:
        """Return the grid with its last columns only, and with its last rows only if both are the same tokens."""
        if count >= len(self.columns):
            return self
        rows = count if self.rows == self.columns else len(self.rows)
        return Grid(
            f"{self.caption} The last {count} of {len(self.columns)} tokens.",
            self.rows[-rows:],
            self.columns[-count:],
            tuple(row[-count:] for row in self.shares[-rows:]),
            tuple(row[-count:] for row in self.texts[-rows:]),
        )


@dataclass(frozen=True)
class Rows:
    """A table. Columns named in `texts` hold words; all others hold numbers, which are never cut."""

    caption: str
    names: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    texts: tuple[str, ...] = ()


Shown = Words | Bars | Grid | Rows


@dataclass(frozen=True)
class Answer:
    """One question about a text, with what was found."""

    name: str
    """What `--what` calls it."""
    title: str
    what: str
    """What is shown, in a sentence or two."""
    code: str
    """The function that computes it, and from where to import it."""
    shown: tuple[Shown, ...]
    said: tuple[str, ...] = ()
    """Sentences about what was found."""
    why: str = ""
    """Why a model has it; for the stops of a tour."""


def scaled(values: Sequence[float], *, largest: float | None = None) -> tuple[float, ...]:
    """Return values divided by the largest size among them, so that they are from -1 to 1; zeros stay."""
    largest = max((abs(value) for value in values), default=0.0) if largest is None else largest
    return tuple(max(-1.0, min(1.0, value / largest)) if largest > 0 else 0.0 for value in values)


def quoted(piece: str) -> str:
    """Return a token as it is shown by itself: with its space, and with line ends that can be seen."""
    return '"' + piece.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'
