"""The only way to the terminal: consoles that show foreign text safely, cut no number and survive a lost reader.

Names of runs, files and fields, and what a model wrote, may contain any character: escape codes, bells, line ends,
marks that change the writing direction. `visible` makes them visible. Every console of `make_console` does so with
all its output, and `shown` is for text in a line with markup.

The terminal may also support few characters, be narrow, full, or gone. A character that it does not support is
replaced. Nothing is wrapped or cut when there is no terminal. Output that cannot be written is an error, except for a
training, which continues unseen.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment, Segments

from glassgpt.errors import GlassGPTError, OutputError

if TYPE_CHECKING:
    from rich.table import Table

    from glassgpt.model.gpt import GPT

UNLIMITED = 100_000  # columns, if the output is not a window
INPUT_BLOCK = 1 << 16  # characters
NARROWEST = 16  # columns that text in a table is folded to
WIDEST = 100  # columns of a sentence, also in a wider window: longer lines are hard to read

_UNBROKEN = re.compile(r"( *)(`[^`]*`\S*|(?<=  )glassgpt\b.*|(?<=:  )\S.*|\S+)")

_CODE_AT_END = re.compile(r"\x1b\[[0-9;]*m\Z")
LONGEST_CODE = 40

_CONTROL = (*range(32), *range(127, 160))
_INVISIBLE = (
    0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # writing direction
    0x2028, 0x2029,  # rare line ends
    *range(0xD800, 0xE000),  # bytes of a file name that are not UTF-8
    0xFEFF,
)  # fmt: skip
_SHORT = {9: "\\t", 10: "\\n", 13: "\\r"}


def _written(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


_VISIBLE = {code: _written(code) for code in (*_CONTROL, *_INVISIBLE)}
_VISIBLE_LINES = {code: text for code, text in _VISIBLE.items() if code != 10}
_REPLACED = dict.fromkeys((*_CONTROL, *_INVISIBLE), "�")
del _REPLACED[9], _REPLACED[10]


def visible(text: object, *, lines: bool = False) -> str:
    """Return foreign text on one line, with characters that act on a terminal written as escapes such as \\x1b.

    With `lines`, line ends are kept.
    """
    return str(text).translate(_VISIBLE_LINES if lines else _VISIBLE)


def shown(text: object, *, lines: bool = False) -> str:
    """Return foreign text as `visible` does, for a line with markup: brackets in it stay brackets."""
    return escape(visible(text, lines=lines))


def printable(text: str) -> str:
    """Replace characters that act on a terminal in what a model wrote; line ends and tabs stay."""
    return text.translate(_REPLACED)


def folded(text: str, width: int) -> str:
    """Return a message with its lines broken between words, and no command broken: it can still be pasted.

    A command stands in backticks, or after two spaces and to the end of its line. If it does not fit on the line, it
    begins a new one; if it is longer than the window, it runs over the edge. All lines of an indented paragraph are
    indented.
    """
    return "\n".join(line for paragraph in text.split("\n") for line in _lines_of(paragraph, width))


def _lines_of(paragraph: str, width: int) -> Iterator[str]:
    line, indent = "", " " * (len(paragraph) - len(paragraph.lstrip(" ")))
    for space, word in _UNBROKEN.findall(paragraph):
        if line.strip() and cell_len(line + space + word) > width:
            yield line
            line = indent + word
        else:
            line += space + word
    yield line


def prose_width(console: Console) -> int:
    """Return the columns that sentences are folded to; `UNLIMITED` where the output is not a window."""
    return console.width if console.width == UNLIMITED else min(console.width, WIDEST)


def say(console: Console, message: str, *, style: str = "") -> None:
    """Print a message that may hold foreign text: words unbroken, and commands bold and ready to be pasted."""
    from rich.text import Text

    text = Text(folded(visible(message, lines=True), prose_width(console)), style)
    text.highlight_regex(r"(?m)(?:^|(?<=  ))glassgpt\b.*$", "bold")
    console.print(text, soft_wrap=True)


def shorten(text: str, most: int) -> str:
    """Cut a text longer than `most` characters, and mark the cut."""
    return text if len(text) <= most else text[: most - 3] + "..."


def middle(text: str, most: int) -> str:
    """Cut the middle out of a text that is wider than `most` columns: beginning and end tell names apart."""
    if cell_len(text) <= most:
        return text
    room = max(0, most - 3)
    begin, end = set_cell_size(text, room - room // 2), text
    while cell_len(end) > room // 2:
        end = end[1:]
    return f"{begin.rstrip()}...{end}"


class Output:
    """Standard output or standard error. Characters that its encoding lacks are replaced.

    If writing fails, a `lasting` output is silent from then on. Others raise `BrokenPipeError` when the reader has
    closed the pipe, and `OutputError` when the disk is full or the terminal gone.
    """

    def __init__(self, stream: IO[str] | None, *, lasting: bool = False) -> None:
        self._stream, self._lasting = stream, lasting
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write a text."""
        text = text.encode(self.encoding, "replace").decode(self.encoding)
        self._try(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # closed
            return False

    def fileno(self) -> int:
        """Return the number of the file behind it."""
        if self._stream is None:
            raise OSError("there is no file behind this output")
        return self._stream.fileno()

    def _try(self, act: Any) -> None:
        if self._stream is None:
            return
        try:
            act(self._stream)
        except (OSError, ValueError) as error:
            silence(self._stream)
            self._stream = None
            if self._lasting:
                return
            if isinstance(error, BrokenPipeError):
                raise
            why = getattr(error, "strerror", None) or str(error)
            raise OutputError(
                f"The output could not be written: {why}. Send it to a place that has room, and run the command again."
            ) from error


class _Unpadded(Output):
    """An output that is not a window: what fills a line up to its edge is left out, for there is no edge."""

    def write(self, text: str) -> int:
        """Write text without the spaces at the ends of its lines; the last line may go on, as a prompt does."""
        *lines, rest = text.split("\n")
        super().write("\n".join([*map(_without_padding, lines), rest]))
        return len(text)


def _without_padding(line: str) -> str:
    """Return a line without the spaces at its end, which may stand before the codes that end a style."""
    codes = ""
    while True:
        line = line.rstrip(" ")
        found = _CODE_AT_END.search(line, max(0, len(line) - LONGEST_CODE))
        if found is None:
            return line + codes
        line, codes = line[: found.start()], found.group() + codes


def silence(stream: IO[str]) -> None:
    """Discard what a broken stream still holds, so that it causes no second error when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


class _Harmless(Console):
    """A console that makes control characters visible in everything it prints, and folds sentences to `WIDEST`."""

    def print(self, *objects: Any, **options: Any) -> None:
        if all(isinstance(each, str) for each in objects):
            options = {"width": prose_width(self), **options}
        super().print(*objects, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text, lines=True), segment.style)

    def on_broken_pipe(self) -> None:
        raise


def make_console(*, stderr: bool = False, lasting: bool = False, **options: Any) -> Console:
    """Return a console on standard output or error; a `lasting` one for work that continues when its output is lost."""
    stream = sys.stderr if stderr else sys.stdout
    output = Output(stream, lasting=lasting)
    counts = output.isatty() or os.environ.get("COLUMNS", "").isdigit()
    options = {"width": None if counts else UNLIMITED, "highlight": False, "emoji": False, **options}
    if not output.isatty():
        output = _Unpadded(stream, lasting=lasting)
        # With a forced terminal, spinners would be sent into a pipe.
        options = {"force_terminal": False, **options}
        if os.environ.get("FORCE_COLOR"):
            options = {"color_system": "standard", **options}
    if os.environ.get("NO_COLOR"):
        options["color_system"] = None  # rich would still write the escape codes of bold and dim
    return _Harmless(file=output, **options)  # pyright: ignore[reportArgumentType]


def print_table(console: Console, table: Table) -> None:
    """Print a table without cutting numbers or short words, in a window of any width.

    Columns of numbers are marked `no_wrap`. The others are folded, including long names, down to `NARROWEST` columns
    each. If that is not enough, lines run over the window's edge.
    """
    endless = console.options.update(width=UNLIMITED)
    for column in table.columns:
        cells = [console.measure(cell, options=endless) for cell in (column.header, *column.cells)]
        if column.no_wrap:
            column.min_width = max(cell.maximum for cell in cells)
        else:
            column.overflow = "fold"
            column.min_width = min(NARROWEST, max(cell.minimum for cell in cells))
    least = console.measure(_narrowest(table), options=endless).maximum
    lines = console.render_lines(
        table, endless.update(width=max(least, console.width)), pad=False, new_lines=True
    )
    console.print(Segments(segment for line in lines for segment in line), crop=False, end="")


def _narrowest(table: Table) -> Table:
    """Return an empty table with the frame of another, each column as narrow as possible."""
    from rich.table import Table

    bare = Table(box=table.box, show_edge=table.show_edge, pad_edge=table.pad_edge, padding=table.padding)
    for column in table.columns:
        bare.add_column(width=column.min_width)
    return bare


def print_error(error: GlassGPTError) -> None:
    """Print an error as one paragraph to standard error, if that still exists; each of its notes is a further one."""
    from rich.text import Text

    console = make_console(stderr=True, lasting=True, soft_wrap=True)
    paragraphs = (f"Error: {error}", *getattr(error, "__notes__", ()))
    message = Text(folded("\n".join(map(visible, paragraphs)), prose_width(console)))
    message.stylize("bold red", 0, len("Error:"))
    console.print(message)


def input_blocks() -> Iterator[str]:
    """Yield the standard input in blocks of `INPUT_BLOCK` characters. Raises `GlassGPTError` when it is not UTF-8."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(newline="")  # otherwise "\r\n" would be read as "\n"
    size = INPUT_BLOCK
    while (
        size == INPUT_BLOCK
    ):  # a shorter block is the last: reading again would make a terminal wait for a second Ctrl-D
        try:
            block = typed(sys.stdin.read(INPUT_BLOCK), "The standard input")
        except UnicodeDecodeError as error:
            raise _undecodable("The standard input", error.object[error.start]) from error
        size = len(block)
        yield block


def input_text() -> str:
    """Return all of standard input. Raises `GlassGPTError` when it is not UTF-8."""
    return "".join(input_blocks())


def typed(text: str, what: str = "The text") -> str:
    """Return text that was typed or passed, or raise `GlassGPTError` if bytes in it are not UTF-8."""
    for character in text:
        if "\ud800" <= character <= "\udfff":  # how Python keeps such a byte
            raise _undecodable(what, ord(character) - 0xDC00)
    return text


def _undecodable(what: str, byte: int) -> GlassGPTError:
    return GlassGPTError(
        f"{what} is not UTF-8: it holds the byte {byte & 0xFF:#04x}. Convert it first, for example with  "
        "iconv -f WINDOWS-1252 -t UTF-8"
    )


def say_form(model: GPT, weights: str) -> None:
    """Say which form of the weights `auto` chose, or that a form writes no faster here and only saves memory."""
    from glassgpt.model.forms import form_of
    from glassgpt.model.int8 import has_integer_kernel, loops_can_write

    embedding, form = model.token_embedding.weight, form_of(model)
    console = make_console(stderr=True, lasting=True, soft_wrap=True)
    if weights == "auto":
        chosen = "stay as saved" if form == "as-saved" else f"are rounded to {form}"
        console.print(f"The weights {chosen}: so this machine writes fastest.", style="dim")
    elif weights != "as-saved" and not (
        loops_can_write(embedding) or (form == "int8" and has_integer_kernel(embedding))
    ):
        console.print(f"This device has no fast {form} product: {form} weights save memory but no time.")
