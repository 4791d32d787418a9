"""From files of records to a list of their contents. Empty records are left out and counted; errors are collected.

A record with an empty part is left out, counted and named. A record that cannot be understood stops everything,
because the next thousand may be like it. But first all such records are found, so that a file is corrected once and
not once per record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from glassgpt.corpus.formats import Record
from glassgpt.corpus.records import kind_of, read_records, record_notes, shown_fields
from glassgpt.errors import CorpusError

Made = TypeVar("Made")
Say = Callable[[str], None]

NAMED = 4  # number of places that a message names


class NothingToLearn(Exception):
    """What a record lacks, such as "an empty answer"."""


def gather(
    records: Iterable[Record],
    make: Callable[[Any, str], Made],
    names: Sequence[Any],
    say: Say,
    unused: Callable[[Any], Iterable[str]] = lambda _: (),
) -> list[Made]:
    """Return what `make` returns for each record. Raises `CorpusError` when it refuses some, or none is left.

    `say` receives a line about the records that were left out, and one about the fields that `unused` finds in the
    others. `names` are the names of what was read, for messages.
    """
    found: list[Made] = []
    left_out: dict[str, list[str]] = {}
    refused: list[tuple[str, CorpusError]] = []
    idle: dict[str, None] = {}
    for record, source in records:
        try:
            found.append(make(record, source))
            idle.update(dict.fromkeys(unused(record)))
        except NothingToLearn as reason:
            left_out.setdefault(str(reason), []).append(source)
        except CorpusError as error:
            refused.append((source, error))
    if refused:
        raise _refusal(refused)
    whole = len(found) + sum(map(len, left_out.values()))
    sentences = [
        f"Left out {len(sources):,} of {whole:,} records, with {reason}: {places(sources)}."
        for reason, sources in left_out.items()
    ]
    if not found:
        raise CorpusError(
            " ".join(
                [f"There is no record in {places(names) or 'no file at all'} to learn from.", *sentences]
            )
        )
    if idle:
        sentences.append(f"Not read: the fields {shown_fields(idle)}.")
    for sentence in sentences:
        say(sentence)
    return found


def records_of(paths: Iterable[Path], own: Collection[str], say: Say) -> Iterator[Record]:
    """Yield the records of some files. `say` receives what was inferred from a file's content."""
    for path in paths:
        for note in record_notes(path, own) if path.is_file() else ():
            say(note)
        yield from read_records(path, own=own)


def fields_of(record: Any, source: str) -> dict[str, Any]:
    """Return the record if it has fields, or raise `CorpusError`."""
    if not isinstance(record, dict):
        raise CorpusError(f"{source} is not a record with fields but {kind_of(record)}: {record!r:.40}.")
    return record


def places(names: Sequence[Any]) -> str:
    """Return the first few names, and the number of the others."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more


def _refusal(refused: Sequence[tuple[str, CorpusError]]) -> CorpusError:
    first = refused[0][1]
    if len(refused) == 1:
        return first
    others = [source for source, _ in refused[1:]]
    return CorpusError(f"{first} {len(refused):,} records cannot be used; the others are {places(others)}.")
