"""The file formats that text and records are read from, by a file's suffix.

One entry is all that a format needs. A format of records gives values with their places, and serves pretraining, where
one field is the text, and fine-tuning, where all of them are read. A format of documents gives whole texts, for
pretraining alone. `glassgpt.formats` is the entry point of formats from elsewhere, named by their suffix without its
dot (see `docs/extending.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassgpt.corpus.decoding import compression, text_lines
from glassgpt.corpus.documents import Document
from glassgpt.corpus.json_values import LARGEST_RECORD, json_notes, json_records, parse_json
from glassgpt.corpus.tables import Pick, csv_notes, csv_records, parquet_records
from glassgpt.corpus.textfiles import read_text
from glassgpt.registry import Registry

Record = tuple[Any, str]
"""A value in a file, nearly always an object with fields, and its place: "a.jsonl:3" (line), "a.json#3" (item)."""


@dataclass(frozen=True, slots=True)
class Format:
    """How one format is read; it has either `records` or `documents`.

    Each raises `CorpusError`, naming the file and the place, where it cannot be read, and holds no more in memory than
    a record or a part of a document.
    """

    records: Callable[[Path, Collection[str], Pick | None], Iterator[Record]] | None = None
    """Given a file, the names of fields that make a single object a record, and what picks among columns."""
    documents: Callable[[Path], Iterator[Document]] | None = None
    is_table: bool = False
    """Whether its records are rows of named columns, which can be picked from before they are read."""
    notes: Callable[[Path, Collection[str]], list[str]] = lambda _path, _fields: []
    """Sentences about what was decided by the look of a file, given the usual names of fields."""


def json_lines(path: Path, _own: Collection[str], _pick: Pick | None) -> Iterator[Record]:
    """Yield the value of each line that is not blank."""
    for number, line in enumerate(text_lines(path, longest=LARGEST_RECORD), start=1):
        if text := line.strip():
            yield parse_json(text, f"{path}:{number}"), f"{path}:{number}"


FORMATS = Registry(
    "formats",
    Format,
    {
        "txt": Format(documents=read_text),
        "md": Format(documents=read_text),
        "jsonl": Format(records=json_lines),
        "ndjson": Format(records=json_lines),
        "json": Format(records=lambda path, own, _pick: json_records(path, own), notes=json_notes),
        "csv": Format(
            records=lambda path, _own, pick: csv_records(path, pick), is_table=True, notes=csv_notes
        ),
        "parquet": Format(records=lambda path, _own, pick: parquet_records(path, pick), is_table=True),
    },
)


def format_of(path: Path) -> str:
    """Return the suffix that gives a file's format, before a `.gz` or `.zst`: ".json", or "" without one."""
    return (path.with_suffix("") if compression(path) else path).suffix.lower()


def format_named(path: Path) -> Format | None:
    """Return the format of a file by its suffix, or None."""
    return FORMATS.get(format_of(path).removeprefix("."))


def holds_records(path: Path) -> bool:
    """Say whether a file's suffix is that of a format of records."""
    known = format_named(path)
    return known is not None and known.records is not None


def suffixes(*, records: bool = False) -> tuple[str, ...]:
    """Return the suffixes of all formats, or of those of records."""
    return tuple(f".{name}" for name in FORMATS if not records or FORMATS[name].records is not None)
