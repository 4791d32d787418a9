"""JSON as a stream of records, each parsed separately, within limits that hold for every reader of records.

A file of many records is never in memory as a whole, and a broken or hostile one cannot use up the machine: the
scanner finds where each record ends, and only that text is parsed. Records are the items of a list, the items of a
list inside an object, or values one after the other, as in JSON lines.

Not done here: choosing which field of a record is its text (records.py), and `.jsonl`, whose records are lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from glassgpt.corpus.decoding import text_blocks, too_large
from glassgpt.corpus.json_scanner import JsonScanner, Malformed, TooLarge, is_deeper
from glassgpt.errors import CorpusError

LARGEST_RECORD = 20_000_000
"""Most characters in one record. Parsed, it takes up to 25 times as many bytes."""
DEEPEST = 100
"""The deepest nesting of lists and objects."""
LONGEST_NUMBER = 1_000
"""Most digits in a whole number."""
TURN = ("role", "from")
"""Fields that show that an object is one message of a conversation, not a record."""

MOST_NAMED = 4
"""Most lists that a message names."""

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def json_records(path: Path, own: Collection[str] = ()) -> Iterator[tuple[Any, str]]:
    """Yield the records of a JSON file and their places. Raises `CorpusError` when it cannot be read.

    A list gives its items. Values that follow each other, on separate lines or not, are one record each. A single
    object gives the items of its first list of objects. Without such a list it is a record itself if it has one of
    the fields `own`; otherwise it gives the items of its first list, or itself. (Turns of a conversation are not
    records.)
    """
    number = 0
    try:
        values, several = _opened(path, own)
        for number, _ in enumerate(values, start=1):
            source = f"{path}#{number}" if several else str(path)
            yield parse_json(_text(values.scanner, source), source), source
    except Malformed as error:
        after = f" after record {number}" if number else ""
        raise CorpusError(
            f"{path} is not valid JSON{after}: {error}. It may have been cut short, or the file may hold something "
            "else."
        ) from error


def json_notes(path: Path, own: Collection[str] = ()) -> list[str]:
    """Return a sentence if the object in a file holds other lists besides the one whose items are its records."""
    try:
        scanner = JsonScanner(text_blocks(path), LARGEST_RECORD)
        key, _, others = _list_inside(scanner, str(path), own) if scanner.peek() == "{" else (None, True, [])
    except (Malformed, CorpusError):
        return []  # reading the file reports the error
    if key is None or not others:
        return []
    names = ", ".join(repr(shortened(name)) for name in others[:MOST_NAMED])
    more = f" and {len(others) - MOST_NAMED:,} more" if len(others) > MOST_NAMED else ""
    return [
        f"{path} holds several lists: {shortened(key)!r} is read, and {names}{more} not. To read another one, write "
        "it to a separate file."
    ]


def shortened(name: str) -> str:
    """Return the name of a field, shortened for a message."""
    return name if len(name) <= 40 else f"{name[:37]}..."


def parse_json(text: str, source: str) -> Any:
    """Return the value of one record's text. Raises `CorpusError` when it is not JSON or exceeds the limits."""
    if text.count("[") + text.count("{") > DEEPEST and is_deeper(text, DEEPEST):
        raise CorpusError(
            f"{source} has lists and objects nested more than {DEEPEST} deep, which no record needs. "
            "Remove it."
        )
    try:
        value = DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"{source} is not valid JSON: {error.msg} (at character {error.pos + 1}). Correct or remove it."
        ) from error
    except Malformed as error:
        raise CorpusError(f"{source}: {error}") from error
    return without_surrogates(value) if SURROGATE.search(text) else value


def without_surrogates(value: Any) -> Any:
    """Return a value in which all strings have U+FFFD for halves of surrogate pairs, which UTF-8 cannot encode."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    return value


class _Values:
    """Stops before each value; the caller must read or skip it with the scanner before asking for the next."""

    def __init__(self, scanner: JsonScanner, closing: str = "", *, is_whole: bool = False) -> None:
        """`closing` is the bracket after the values, "" for none; with `is_whole` the file must end there."""
        self.scanner, self._closing, self._is_whole = scanner, closing, is_whole

    def __iter__(self) -> Iterator[None]:
        if not self._closing:
            while self.scanner.peek():
                yield
        elif self.scanner.peek() == self._closing:
            self.scanner.take(self._closing)
        else:
            yield
            while self.scanner.take(f",{self._closing}") == ",":
                yield
        if self._is_whole and self.scanner.peek():
            raise Malformed("there is something after the end of its list")


def _opened(path: Path, own: Collection[str]) -> tuple[_Values, bool]:
    """Return an iterator over the records, and whether there may be several."""
    scanner = JsonScanner(text_blocks(path), LARGEST_RECORD)
    match scanner.peek():
        case "":
            raise Malformed("it is empty")
        case "[":
            scanner.take("[")
            return _Values(scanner, "]", is_whole=True), True
        case "{":
            key, several, _ = _list_inside(JsonScanner(text_blocks(path), LARGEST_RECORD), str(path), own)
            return (_Values(scanner) if key is None else _entered(scanner, str(path), key)), several
        case _:
            return _Values(scanner), False


def _list_inside(
    scanner: JsonScanner, source: str, own: Collection[str]
) -> tuple[str | None, bool, list[str]]:
    """Return the key of the list whose items are an object's records, or None; and whether there may be several.

    The third value is the keys of other lists of the same kind, which are not read.
    """
    lists: list[tuple[str, bool]] = []  # keys of lists, and whether they hold records
    is_record = False
    for key in _keys(scanner, source):
        start = scanner.peek()
        is_record = is_record or (key in own and start in ('"', "["))
        if start == "[":
            lists.append((key, _skip_list(scanner, source)))
        else:
            scanner.skip()
    if scanner.peek():
        return None, True, []  # one value after the other
    of_records = next((key for key, whether in lists if whether), None)
    if of_records is None and (is_record or not lists):
        return None, False, []
    read = lists[0][0] if of_records is None else of_records
    others = [key for key, whether in lists if key != read and whether == (of_records is not None)]
    return read, True, others


def _keys(scanner: JsonScanner, source: str) -> Iterator[str]:
    """Yield an object's keys, each time stopping before its value, which the caller must then skip."""
    scanner.take("{")
    for _ in _Values(scanner, "}"):
        if scanner.peek() != '"':
            raise Malformed("a field name is not in quotation marks")
        key = parse_json(_text(scanner, source), source)
        scanner.take(":")
        yield key


def _skip_list(scanner: JsonScanner, source: str) -> bool:
    """Skip a list; return whether its first item is an object that is not a message of a conversation."""
    scanner.take("[")
    is_record = False
    if scanner.peek() == "{":
        first = parse_json(_text(scanner, source), source)
        is_record = not any(field in first for field in TURN)
    scanner.close()
    return is_record


def _entered(scanner: JsonScanner, source: str, wanted: str) -> _Values:
    for key in _keys(scanner, source):
        if key == wanted and scanner.peek() == "[":
            scanner.take("[")
            return _Values(scanner, "]")
        scanner.skip()
    raise Malformed("it changed while it was read")


def _text(scanner: JsonScanner, source: str) -> str:
    try:
        return scanner.value()
    except TooLarge:
        raise too_large(source, LARGEST_RECORD) from None


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise Malformed(
            f"a number has {len(digits):,} digits, and {LONGEST_NUMBER:,} is the most. Write it as a text, in "
            "quotation marks."
        )
    return int(digits)


DECODER = json.JSONDecoder(parse_int=_integer)
