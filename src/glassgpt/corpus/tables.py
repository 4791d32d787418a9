"""Tables, `.csv` and `.parquet`, as a stream of rows with their places.

A CSV file says little about itself, so its first row decides three things: the separator of columns (a comma, or else
a semicolon, tab or bar that separates several names); whether a space after it belongs to it; and, if there is only
one column, whether the row is the column's name or already a text. `csv_notes` reports what was guessed. Line ends may
be of any kind, including those of old Macs.
"""

from __future__ import annotations

import contextlib
import csv
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glassgpt.corpus.decoding import compression, open_bytes, text_lines, too_large
from glassgpt.corpus.json_values import LARGEST_RECORD
from glassgpt.errors import CorpusError, require

SEPARATORS = (";", "\t", "|")
LONGEST_NAME = 60  # characters; anything longer, or a sentence, is not the name of a column
BATCH_BYTES = 1 << 26  # approximate size of the rows that are decoded at once
BATCH_ROWS = 256

Pick = Callable[[list[str], str], list[str]]
"""Chooses columns from their names and the place of the table; may refuse them."""


@dataclass(frozen=True)
class CsvForm:
    """The format of a CSV file, judged by its first row."""

    names: list[str]
    separator: str = ","
    space_after: bool = False
    has_header: bool = True


def csv_records(path: Path, pick: Pick | None = None) -> Iterator[tuple[dict[str, str], str]]:
    """Yield the rows of a CSV file by column, with their places. Raises `CorpusError` when it is not valid."""
    form = csv_form(path)
    if form is None:
        return
    wanted = set(pick(form.names, str(path)) if pick else form.names)
    columns = [(place, name) for place, name in enumerate(form.names) if name in wanted]
    is_header = form.has_header
    for row, line in _rows(path, form):
        if not row or is_header:
            is_header = is_header and not row  # blank lines may come before it
            continue
        if len(row) > len(form.names) and any(row[len(form.names) :]):
            raise CorpusError(
                f"{path}:{line} has {len(row)} columns and the first row {len(form.names)}. A text that holds "
                f"{form.separator!r} or a line end must be in quotation marks."
            )
        if pick and len(row) <= columns[-1][0]:
            raise CorpusError(f"{path}:{line} has no column {columns[-1][1]!r}: the row is too short.")
        yield {name: row[place] for place, name in columns if place < len(row)}, f"{path}:{line}"


def csv_form(path: Path) -> CsvForm | None:
    """Return the format of a CSV file, or None when it is empty. Raises `CorpusError` when it cannot be read."""
    form = _separated(path)
    if form is None:
        return None
    if len(form.names) == 1:
        return form if _is_name(form.names[0]) else CsvForm(["text"], has_header=False)
    if all(name.startswith(" ") for name in form.names[1:]):
        names = _first_row(path, CsvForm([], form.separator, space_after=True)) or form.names
        form = replace(form, names=names, space_after=True)
    form = replace(form, names=[name.strip() for name in form.names])
    _refuse_repeated(form.names, path)
    return form


def _separated(path: Path) -> CsvForm | None:
    """Return the format with the separator that splits the first row: a comma, if that splits it at all."""
    refusal = None
    try:
        first = _first_row(path, CsvForm([]))
    except CorpusError as error:  # happens for quoted names between semicolons
        first, refusal = [], error
    if first is None:
        return None
    if len(first) < 2:
        for separator in SEPARATORS:
            with contextlib.suppress(CorpusError):
                row = _first_row(path, CsvForm([], separator)) or []
                if len(row) > 1 and all(not name or _is_name(name) for name in row):
                    return CsvForm(row, separator)
    if refusal is not None:
        raise refusal
    return CsvForm(first)


def csv_notes(path: Path, known: Collection[str]) -> list[str]:
    """Return sentences about what was guessed from a CSV file's first row; none if it has the usual names."""
    form = csv_form(path)
    if form is None:
        return []
    notes = []
    if form.separator != ",":
        notes.append(f"{path}: its columns are separated by {form.separator!r}.")
    if not form.has_header:
        notes.append(f"{path} has no row with the name of its column: its first row is read as a text, too.")
    elif len(form.names) == 1 and form.names[0] not in known:
        notes.append(
            f"{path}: its first row, {form.names[0]!r}, is read as the name of its column, not as a text."
        )
    return notes


def parquet_records(path: Path, pick: Pick | None = None) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows of a Parquet file by column, in small batches. Raises `CorpusError` when it is not valid."""
    parquet = require("pyarrow.parquet", extra="data", purpose="read .parquet files")
    arrow = require("pyarrow", extra="data", purpose="read .parquet files")
    with _unpacked(path) as plain:
        try:
            with parquet.ParquetFile(plain, buffer_size=1 << 20) as file:
                names = list(file.schema_arrow.names)
                _refuse_repeated(names, path)
                wanted = pick(names, str(path)) if pick else names
                number = 0
                for batch in file.iter_batches(batch_size=_rows_at_once(file.metadata), columns=wanted):
                    for row in batch.to_pylist():
                        number += 1
                        if any(
                            isinstance(value, str) and len(value) > LARGEST_RECORD for value in row.values()
                        ):
                            raise too_large(f"{path}#{number}", LARGEST_RECORD)
                        yield row, f"{path}#{number}"
        except MemoryError as error:
            raise CorpusError(f"{path} has rows that are too large for this machine's memory.") from error
        except UnicodeDecodeError as error:
            raise CorpusError(f"{path} has text in it that is not UTF-8: {error}.") from error
        except (arrow.ArrowException, OSError) as error:
            raise CorpusError(
                f"{path} is not a whole Parquet file: {_short(error)}. It may have been cut short; copy or download it "
                "again."
            ) from error
        except (ValueError, OverflowError) as error:
            raise CorpusError(f"{path} has a value that cannot be read: {_short(error)}.") from error


def _rows(path: Path, form: CsvForm) -> Iterator[tuple[list[str], int]]:
    """Yield each row, within the limit of a record, and the number of the line it ends on."""
    lines = _Counted(text_lines(path, longest=LARGEST_RECORD), path)
    csv.field_size_limit(LARGEST_RECORD)
    rows = csv.reader(lines, delimiter=form.separator, skipinitialspace=form.space_after, strict=True)
    while True:
        lines.begin_row()
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise CorpusError(
                f"{path}:{rows.line_num} is not valid CSV: {error}. Look for a quotation mark that is not closed or "
                "doubled."
            ) from error
        if row is None:
            return
        yield row, rows.line_num


class _Counted:
    """The lines of a file; raises an error when one row takes too many characters."""

    def __init__(self, lines: Iterator[str], path: Path) -> None:
        self._lines, self._path = lines, path
        self._number = self._size = self._began = 0

    def begin_row(self) -> None:
        """Start counting for the next row."""
        self._size, self._began = 0, self._number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._number, self._size = self._number + 1, self._size + len(line)
        if self._size > LARGEST_RECORD:
            what = f"{self._path}:{self._began}: the row that begins here, perhaps with a quotation mark not closed,"
            raise too_large(what, LARGEST_RECORD)
        return line


def _first_row(path: Path, form: CsvForm) -> list[str] | None:
    return next((row for row, _ in _rows(path, form) if row), None)


def _is_name(text: str) -> bool:
    """Return whether a text may be the name of a column: short, on one line, and not a sentence."""
    text = text.strip()
    is_short = 0 < len(text) <= LONGEST_NAME and len(text.split()) <= 6
    return is_short and not text.endswith((".", "!", "?", "…", ",")) and not text.isdigit()


def _refuse_repeated(names: list[str], path: Path) -> None:
    twice = next((name for place, name in enumerate(names) if name and name in names[:place]), None)
    if twice is not None:
        raise CorpusError(
            f"{path} has two columns that are called {twice:.60}, so it is not clear which one is meant. "
            "Rename one of them."
        )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _rows_at_once(metadata: Any) -> int:
    """Return how many rows of a Parquet file to decode together, from their average size."""
    sizes = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    largest = max((group.total_byte_size / max(1, group.num_rows) for group in sizes), default=0.0)
    return int(max(1, min(BATCH_ROWS, BATCH_BYTES / max(1.0, largest))))


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Yield a seekable file: the file itself, or a temporary unpacked copy."""
    if not compression(path):
        with open_bytes(path):  # raises an error if it cannot be opened
            pass
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        with open_bytes(path) as packed:
            shutil.copyfileobj(packed, copy)
        copy.flush()
        yield Path(copy.name)
