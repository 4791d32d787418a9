"""Text that streams to a terminal without a word broken at the end of a line.

Text is shown as soon as it comes, also the beginning of a word. When a word turns out to reach over the edge, what is
shown of it is taken back and written on the next line. The last column stays empty: terminals differ in what they do
after it. Where the output is not a terminal, the text is not changed.
"""

from __future__ import annotations

import os

import regex
from rich.cells import cell_len

from glassgpt.cli.terminal import Output, printable

TAB = 8
"""Columns between the stops of a tab."""
_CLUSTERS = regex.compile(r"\X")
_NOT_FIRST = frozenset("、。，．・：；？！ー」』）］｝〉》】〕’”…)]}.,:;?!%")
"""Characters that do not begin a line in scripts without spaces."""


class Flow:
    """The place of a cursor that writes words, and what is to be sent to the terminal for each new text."""

    def __init__(self, column: int = 0) -> None:
        self._column = column
        self._begin_word()
        self._after_wide = False

    def push(self, text: str, width: int) -> str:
        """Return what writes `text` into a window of `width` columns, after all that came before."""
        return "".join(self._put(cluster, max(1, width - 1)) for cluster in _CLUSTERS.findall(text))

    def _begin_word(self) -> None:
        """A line may be broken here."""
        self._word, self._cells = "", 0

    def _put(self, cluster: str, most: int) -> str:
        if cluster in ("\n", "\r\n", "\r"):
            self._column = 0
            self._begin_word()
            return cluster
        cells = TAB - self._column % TAB if cluster == "\t" else cell_len(cluster)
        if cluster.isspace():
            self._begin_word()
            if self._column + cells > most:
                return ""  # the next word begins a new line
            self._column += cells
            return cluster
        if cells and (cells > 1 or self._after_wide) and cluster not in _NOT_FIRST:
            self._begin_word()
        sent = self._new_line(cells, most) if self._column + cells > most else ""
        self._after_wide = cells > 1 or (self._after_wide and not cells)
        self._word, self._cells = self._word + cluster, self._cells + cells
        self._column += cells
        return sent + cluster

    def _new_line(self, cells: int, most: int) -> str:
        """Begin a new line with the word so far; a word longer than a line is broken instead."""
        moved, taken_back = self._word, "\b" * self._cells + "\x1b[K" if self._cells else ""
        if self._cells == self._column or self._cells + cells > most:
            self._begin_word()
            moved = taken_back = ""
        self._column = self._cells
        return f"{taken_back}\n{moved}"


class Writer:
    """Writes what a model writes, at once: word by word on a terminal, and elsewhere as it comes."""

    def __init__(self, output: Output, column: int = 0) -> None:
        self._output, self._flow = output, Flow(column)
        self._is_terminal = output.isatty()
        self._flows = self._is_terminal and os.environ.get("TERM") != "dumb"

    def write(self, text: str, *, dim: bool = False) -> None:
        """Write the text that comes next."""
        if self._is_terminal:
            text = printable(text)
        if self._flows:
            text = self._flow.push(text, columns(self._output))
        self._output.write(f"\x1b[2m{text}\x1b[0m" if dim and text else text)
        self._output.flush()


def columns(output: Output) -> int:
    """Return the width of the window now: $COLUMNS, or what the terminal says."""
    if os.environ.get("COLUMNS", "").isdigit():
        return max(1, int(os.environ["COLUMNS"]))
    try:
        return os.get_terminal_size(output.fileno()).columns or 80
    except OSError:
        return 80
