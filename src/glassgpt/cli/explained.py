"""Answers of `glassgpt explain` in a terminal: coloured where it has colours, and complete where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from glassgpt.cli.terminal import UNLIMITED, WIDEST, middle, print_table, say, visible
from glassgpt.explaining.shapes import Answer, Bars, Grid, Rows, Words

SHADES = " ░▒▓█"
MORE, LESS = (31, 111, 159), (176, 84, 40)
"""The two colours, as red, green and blue: more and less, for dark letters and light ones alike."""
BAR = 24
"""Columns of the longest bar."""
NAME = 16
"""Columns of a piece beside a grid."""
PIPED = 100
"""Columns where the output is not a window."""


def show(console: Console, answers: Sequence[Answer], *, rest: Sequence[str] = ()) -> None:
    """Print answers, and which other questions there are."""
    for number, answer in enumerate(answers):
        if number:
            console.print()
        console.print(Text(answer.title, "bold"))
        say(console, answer.what, style="dim")
        if answer.why:
            say(console, answer.why, style="dim")
        for shown in answer.shown:
            console.print()
            caption = _show(shown, console)
            say(console, caption, style="dim italic")
        if answer.said:
            console.print()
        for sentence in answer.said:
            say(console, sentence)
        if answer.why:
            console.print(Text(visible(answer.code), "dim"), soft_wrap=True)
    others = [name for name in rest if name not in {answer.name for answer in answers}]
    if others:
        console.print()
        say(console, f"More with --what: {', '.join(others)}. As a page: --html explained.html", style="dim")


@singledispatch
def _show(shown: object, console: Console) -> str:
    """Print something of one of the kinds below; return its caption."""
    raise TypeError(f"{type(shown)} cannot be shown on {console}")


@_show.register
def _(shown: Words, console: Console) -> str:
    """Print pieces above their notes, as many beside each other as fit."""
    width = _width(console)
    above, below = Text(), Text()
    for piece, note, share in zip(shown.pieces, shown.notes, shown.shares, strict=True):
        piece = visible(piece) or " "
        columns = max(cell_len(piece), cell_len(note)) + 1
        if above.cell_len + columns > width and above.cell_len:
            _print_pair(console, above, below)
            above, below = Text(), Text()
        above.append(middle(piece, width - 1), _style(share))
        above.append(" " * (columns - cell_len(piece)))
        below.append(set_cell_size(note, columns), "dim")
    _print_pair(console, above, below)
    return shown.caption


def _print_pair(console: Console, above: Text, below: Text) -> None:
    console.print(above, soft_wrap=True)
    console.print(below, soft_wrap=True)


@_show.register
def _(shown: Bars, console: Console) -> str:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for name, number, share in zip(shown.names, shown.numbers, shown.shares, strict=True):
        color = _rgb(LESS if share < 0 else MORE, 1.0)
        table.add_row(Text(visible(name)), number, Text("█" * max(1, round(abs(share) * BAR)), color))
    print_table(console, table)
    return shown.caption


@_show.register
def _(shown: Rows, console: Console) -> str:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in shown.names:
        is_text = name in shown.texts
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text)
    for cells in shown.cells:
        table.add_row(*(Text(visible(cell)) for cell in cells))
    print_table(console, table)
    return shown.caption


@_show.register
def _(shown: Grid, console: Console) -> str:
    """Print shades, two columns a cell, or texts; the last columns where not all fit."""
    widest = max(cell_len(middle(visible(name), NAME)) for name in shown.rows)
    cell = 2 if not shown.texts else 1 + min(12, max(cell_len(text) for row in shown.texts for text in row))
    shown = shown.last(max(1, (_width(console) - widest - 1) // cell))
    if shown.texts:
        heads = (_fitted(name, cell - 1) + " " for name in shown.columns)
        console.print(Text(" " * (1 + widest) + "".join(heads), "dim"), soft_wrap=True)
    for row, name in enumerate(shown.rows):
        line = Text(set_cell_size(middle(visible(name), NAME), widest) + " ")
        for column, share in enumerate(shown.shares[row]):
            if shown.texts:
                line.append(_fitted(shown.texts[row][column], cell - 1), _style(share))
                line.append(" ")
            else:
                shade = SHADES[min(len(SHADES) - 1, round(abs(share) * (len(SHADES) - 1)))]
                line.append(2 * shade, _rgb(LESS if share < 0 else MORE, 1.0))
        console.print(line, soft_wrap=True)
    return shown.caption


def _fitted(text: str, columns: int) -> str:
    """Return a text in exactly this many columns, cut in the middle or filled with spaces."""
    return set_cell_size(middle(visible(text), columns), columns)


def _width(console: Console) -> int:
    return PIPED if console.width == UNLIMITED else min(console.width, WIDEST)


def _style(share: float) -> str:
    """Return the style of a piece: the stronger its share, the stronger the ground behind it."""
    if abs(share) < 0.05:
        return ""
    return f"white on {_rgb(LESS if share < 0 else MORE, 0.25 + 0.75 * abs(share))}"


def _rgb(color: tuple[int, int, int], strength: float) -> str:
    red, green, blue = (round(part * strength) for part in color)
    return f"rgb({red},{green},{blue})"
