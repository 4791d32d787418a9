"""Files of records (`.jsonl`, `.json`, `.csv`, `.parquet`) as documents: one field of each is the text.

The field is the one that was asked for, or else the first of `TEXT_FIELDS` that the record has. A record
without it is an error that shows which fields there are: training on the wrong column, or on nothing,
is worse than stopping. A null text is an empty document, which cleaning drops and counts.
Everything streams: no more than one record (or one small batch of rows) is in memory.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glassgpt.corpus.decoding import compression, open_bytes, text_blocks, text_lines
from glassgpt.corpus.documents import Document
from glassgpt.errors import CorpusError, did_you_mean, require

TEXT_FIELDS = ("text", "content", "story", "body", "document", "article")
LARGEST_CSV_FIELD = 100_000_000  # characters; a forgotten closing quote must not read the whole file
ROWS = 256  # parquet rows decoded at once


def read_jsonl(path: Path, text_field: str | None = None) -> Iterator[Document]:
    """Yield one document for each line of JSON. Raises `CorpusError` naming the line that does not fit."""
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        source = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{source} is not valid JSON: {error}. Mend or remove that line.") from error
        yield Document(text_of(record, text_field, source), source)


def read_json(path: Path, text_field: str | None = None) -> Iterator[Document]:
    """Yield one document for each item of the list that a JSON file holds.

    The list, of strings or of records, is the whole file or the value of one of its object's keys.
    An object that has the text field itself is a single document.
    """
    with _explain_json(path):
        prefix = _list_prefix(path, text_field)
        for number, record in enumerate(_items(path, prefix), start=1):
            source = f"{path}#{number}" if prefix else str(path)
            yield Document(text_of(record, text_field, source), source)


def read_csv(path: Path, text_field: str | None = None) -> Iterator[Document]:
    """Yield one document for each row after the header; a file with one column needs no field name."""
    csv.field_size_limit(LARGEST_CSV_FIELD)
    rows = csv.reader(text_lines(path), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        chosen = header[0] if len(header) == 1 and text_field is None else None
        field = chosen or choose_field(header, text_field, str(path))
        if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
            raise _no_field(header, text_field, f"{path} (its columns must be separated by commas)")
        column = header.index(field)
        for row in rows:
            if len(row) <= column and row:
                raise CorpusError(f"{path}:{rows.line_num} has no column {field!r}: the row is too short.")
            if row:
                yield Document(row[column], f"{path}:{rows.line_num}")
    except csv.Error as error:
        raise CorpusError(
            f"{path}:{rows.line_num} is not valid CSV: {error}. "
            "Look for a quotation mark that is not closed or doubled."
        ) from error


def read_parquet(path: Path, text_field: str | None = None) -> Iterator[Document]:
    """Yield one document for each row of a Parquet file, read in small batches."""
    parquet = require("pyarrow.parquet", extra="data", purpose="read .parquet files")
    arrow = require("pyarrow", extra="data", purpose="read .parquet files")
    with _unpacked(path) as plain:
        try:
            with parquet.ParquetFile(plain) as file:
                field = choose_field(file.schema_arrow.names, text_field, str(path))
                number = 0
                for batch in file.iter_batches(batch_size=ROWS, columns=[field]):
                    for value in batch.column(0).to_pylist():
                        number += 1
                        source = f"{path}#{number}"
                        yield Document(_as_text(value, field, source), source)
        except (arrow.ArrowException, OSError) as error:
            raise CorpusError(f"{path} is not a whole Parquet file: {error}.") from error


def text_of(record: Any, text_field: str | None, source: str) -> str:
    """Return the text of a record (a string, or an object with a text field), or raise `CorpusError`."""
    if isinstance(record, str):
        return _valid(record)
    if not isinstance(record, dict):
        raise CorpusError(
            f"{source} is neither a text nor an object with a text field, but {_kind(record)}. "
            'A record looks like {"text": "Once upon a time ..."}.'
        )
    field = choose_field(record, text_field, source)
    return _as_text(record[field], field, source)


def choose_field(fields: Iterable[str], text_field: str | None, source: str) -> str:
    """Return which of `fields` holds the text. Raises `CorpusError` listing them when none does."""
    names = list(fields)
    for field in (text_field,) if text_field is not None else TEXT_FIELDS:
        if field in names:
            return field
    raise _no_field(names, text_field, source)


def _no_field(names: list[str], text_field: str | None, source: str) -> CorpusError:
    if not names:
        return CorpusError(f"{source} has no fields at all.")
    wanted = f"field {text_field!r}" if text_field is not None else "field that is known to hold text"
    near = did_you_mean(text_field, names) if text_field is not None else ""
    example = "output" if "output" in names else names[-1]
    return CorpusError(
        f"{source} has no {wanted}; its fields are: {', '.join(names)}.{near} "
        f"Choose one with text_field, on the command line for example `--corpus.text-field {example}`."
    )


def _as_text(value: Any, field: str, source: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorpusError(
            f"{source}: the field {field!r} holds {_kind(value)} instead of a text. "
            "Choose another field with text_field, on the command line `--corpus.text-field`."
        )
    return _valid(value)


def _valid(text: str) -> str:
    """Return what UTF-8 can hold of a text: JSON may give half a surrogate pair, which becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _kind(value: Any) -> str:
    names = {bool: "true or false", dict: "an object", list: "a list", str: "a text", type(None): "nothing"}
    return names.get(type(value), f"a value of type {type(value).__name__}")


@contextmanager
def _explain_json(path: Path) -> Iterator[None]:
    import ijson

    try:
        yield
    except ijson.JSONError as error:
        reason = " ".join(str(error).split())
        raise CorpusError(
            f"{path} is not valid JSON: {reason}. If each line is a record of its own, name the file .jsonl."
        ) from error


def _items(path: Path, prefix: str) -> Iterator[Any]:
    import ijson

    return ijson.items(_utf8(path), prefix, use_float=True)


def _utf8(path: Path):
    import ijson

    return ijson.from_iter(block.encode() for block in text_blocks(path))


def _list_prefix(path: Path, text_field: str | None) -> str:
    """Return ijson's name for the items to read: "item", "data.item", or "" for the object itself.

    In an object, the first list of records is taken, or else the text field, or else the first list of texts.
    """
    import ijson

    wanted = TEXT_FIELDS if text_field is None else (text_field,)
    first_list = opened = None
    for prefix, event, _ in ijson.parse(_utf8(path)):
        if prefix == "" and event == "start_array":
            return "item"
        if opened is not None and prefix == f"{opened}.item" and event == "start_map":
            return f"{opened}.item"
        if event == "string" and prefix in wanted:
            return ""
        if event == "start_array" and prefix and "." not in prefix:
            opened, first_list = prefix, first_list or prefix
        elif event == "end_array" and prefix == opened:
            opened = None
    return f"{first_list}.item" if first_list else ""


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Yield a file that can be sought in: the file itself, or a temporary copy of what it unpacks to."""
    if not compression(path):
        with open_bytes(path):  # says so when it cannot be opened
            pass
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        with open_bytes(path) as packed:
            shutil.copyfileobj(packed, copy)
        copy.flush()
        yield Path(copy.name)
