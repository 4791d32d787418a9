"""Records (`.jsonl`, `.json`, `.csv`, `.parquet`) and their places, for pretraining and for fine-tuning.

For pretraining, one field of each record is the text: the field that was asked for, or else the first of
`TEXT_FIELDS` that the record has. A record without it is an error that lists the fields: training on the wrong column,
or on nothing, is worse than stopping. A null text is an empty document, which cleaning drops and counts. Everything
streams: at most one record (or one small batch of rows) is in memory, and a record has limits (`json_values`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from glassgpt.commands import command, quoted
from glassgpt.corpus.documents import Document
from glassgpt.corpus.formats import Record, format_named, suffixes
from glassgpt.corpus.json_values import without_surrogates
from glassgpt.corpus.tables import Pick
from glassgpt.errors import CorpusError, did_you_mean

TEXT_FIELDS = ("text", "content", "story", "body", "document", "article")
_ANSWERS = ("completion", "response", "answer")
ANSWERED = {"instruction": ("output",), "prompt": _ANSWERS, "question": _ANSWERS}
"""Fields of a question, each with the fields of its answer: what `glassgpt finetune sft` reads, in its order."""
TURNS = (("messages", "role", "content"), ("conversations", "from", "value"))
"""Fields of whole conversations, each with the fields of a turn."""
SHOWN = 12  # most fields that a message names


def read_records(path: Path, *, own: Collection[str] = (), pick: Pick | None = None) -> Iterator[Record]:
    """Yield the records of a file; its suffix gives the format. Raises `CorpusError` when it cannot be read.

    `own` names fields that make a single JSON object a record itself; `pick` chooses among the columns of a table.
    """
    known = format_named(path)
    if not path.is_file():
        raise CorpusError(f"There is no file {path}.")
    if known is None or known.records is None:
        raise CorpusError(
            f"{path}: records are read from files named {', '.join(suffixes(records=True))}, each also with .gz or "
            ".zst after it."
        )
    yield from known.records(path, own, pick)


def read_documents(path: Path, text_field: str | None = None) -> Iterator[Document]:
    """Yield a document for each record of a file. Raises `CorpusError` naming a record without text."""
    own = TEXT_FIELDS if text_field is None else (text_field,)
    known = format_named(path)
    is_table = known is not None and known.is_table
    for record, source in read_records(path, own=own, pick=partial(_text_column, text_field)):
        if isinstance(record, dict) and len(record) == 1 and is_table:
            ((field, value),) = record.items()  # the column that was picked
            yield Document(_as_text(value, field, source), source)
        else:
            yield Document(text_of(record, text_field, source), source)


def record_notes(path: Path, own: Collection[str] = TEXT_FIELDS) -> list[str]:
    """Return sentences about what was guessed from the look of a file of records, to show before it is read.

    `own` are the usual names of fields, as for `read_records`.
    """
    known = format_named(path)
    return [] if known is None else known.notes(path, own)


def text_of(record: Any, text_field: str | None, source: str) -> str:
    """Return the text of a record (a string, or an object with a text field), or raise `CorpusError`."""
    if isinstance(record, str):
        return valid(record)
    if not isinstance(record, dict):
        raise CorpusError(
            f"{source} is neither a text nor an object with a text field, but {kind_of(record)}. "
            'A record looks like {"text": "Once upon a time ..."}.'
        )
    texts = [str(name) for name, value in record.items() if isinstance(value, str)]
    field = choose_field(record, text_field, source, texts)
    return _as_text(record[field], field, source)


def choose_field(
    fields: Iterable[str], text_field: str | None, source: str, texts: Collection[str] = ()
) -> str:
    """Return which of `fields` holds the text. Raises `CorpusError` listing them when none does.

    `texts` are fields that are known to hold some text; the message suggests one of them.
    """
    names = [str(name) for name in fields]
    for field in (text_field,) if text_field is not None else TEXT_FIELDS:
        if field in names:
            return field
    if not names:
        raise CorpusError(f"{source} has no fields at all.")
    wanted = f"field {text_field!r}" if text_field is not None else "field that is known to hold text"
    near = did_you_mean(text_field, names) if text_field is not None else ""
    offered = list(texts) or names
    example = "output" if "output" in offered else offered[-1]
    error = CorpusError(
        f"{source} has no {wanted}; its fields are: {shown_fields(names)}.{near} "
        f"Choose one on the command line, for example with  {_option(example)}"
    )
    if _are_answered(names):
        file = re.sub(r"[:#]\d+$", "", source)  # without the place of the record
        error.add_note(f"To learn to answer instead:  {command('finetune', 'sft', 'RUN', file)}")
    raise error


def _are_answered(names: Collection[str]) -> bool:
    """Return whether fields look like those of questions with answers, or of conversations."""
    pairs = any(asked in names and not set(answers).isdisjoint(names) for asked, answers in ANSWERED.items())
    return pairs or any(turns in names for turns, *_ in TURNS)


def shown_fields(names: Iterable[Any]) -> str:
    """Return the names of fields for a message, shortened and not too many."""
    names = [name if len(name) <= 40 else f"{name[:37]}..." for name in map(str, names)]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def _option(field: str) -> str:
    return f"--text-field={quoted(field)}" if field.startswith("-") else f"--text-field {quoted(field)}"


def valid(text: str) -> str:
    """Return a text that UTF-8 can encode: half a surrogate pair becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return without_surrogates(text)
    return text


def kind_of(value: Any) -> str:
    """Return the kind of a value, in words."""
    names = {bool: "true or false", dict: "an object", list: "a list", str: "a text", type(None): "nothing",
             int: "a number", float: "a number"}  # fmt: skip
    return names.get(type(value), f"a value of type {type(value).__name__}")


def _text_column(text_field: str | None, names: list[str], source: str) -> list[str]:
    """Pick the column with the text; the only column of a table may have any name."""
    if len(names) == 1 and text_field is None:
        return names
    return [choose_field(names, text_field, source)]


def _as_text(value: Any, field: str, source: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorpusError(
            f"{source}: the field {field!r} holds {kind_of(value)} instead of a text. "
            "Choose another field on the command line, with  --text-field NAME"
        )
    return valid(value)
