"""Records for fine-tuning: conversations and preferences, recognised by the fields that they have.

    {"instruction", "input", "output"}                         Alpaca
    {"messages": [{"role", "content"}, ...]}                   OpenAI
    {"conversations": [{"from", "value"}, ...]}                ShareGPT
    {"prompt", "completion"}  {"question", "answer"}           pairs
    {"chosen", "rejected"} beside any prompt of the above      preferences

Files are .json (a list, or an object that holds one), .jsonl, .csv or .parquet. Each record remembers where it
stands, so that an error can say so.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassgpt.corpus.decoding import text_blocks, text_lines
from glassgpt.errors import CorpusError, require

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
PROMPT_FIELDS = ("prompt", "question")
ANSWER_FIELDS = ("completion", "response", "answer")
KNOWN = (
    "instruction and output, messages, conversations, prompt and completion, or question and answer (and for "
    "preferences chosen and rejected)"
)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of which the last is the assistant's, and where they stand."""

    messages: tuple[Message, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with an answer that is liked better than another."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt alone, and the whole record it is from, for rewards that look further."""

    messages: tuple[Message, ...]
    record: dict[str, Any]
    source: str


def read_records(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each record of a file, and where it stands. Raises `CorpusError` on what is no record."""
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst", ".xz", ".bz2")]
    readers = {".json": _json, ".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(suffixes[-1] if suffixes else "")
    if not path.is_file():
        raise CorpusError(f"There is no file {path}.")
    if reader is None:
        raise CorpusError(f"{path}: records are read from files named {', '.join(readers)}.")
    for record, source in reader(path):
        if not isinstance(record, dict):
            raise CorpusError(
                f"{source} is no record with fields but {type(record).__name__} {record!r:.40}."
            )
        yield record, source


def read_conversations(paths: Sequence[Path]) -> list[Conversation]:
    """Return the conversations of some files. Raises `CorpusError` where a record is none, or an answer empty."""
    found = []
    for path in paths:
        for record, source in read_records(path):
            messages = messages_of(record, source)
            if not messages or messages[-1].role != "assistant":
                raise _unknown(record, source, "an answer to learn")
            _refuse_empty(messages[-1].content, source, "The answer")
            found.append(Conversation(messages, source))
    return _not_none(found, paths)


def read_preferences(paths: Sequence[Path]) -> list[Preference]:
    """Return the preferences of some files. Raises `CorpusError` where a record is none, or an answer empty."""
    found = [_preference(record, source) for path in paths for record, source in read_records(path)]
    return _not_none(found, paths)


def read_prompts(paths: Sequence[Path]) -> list[Prompt]:
    """Return the prompts of some files; what stands after the last question is left to the reward."""
    found = []
    for path in paths:
        for record, source in read_records(path):
            messages = messages_of(record, source)
            if messages and messages[-1].role == "assistant":
                messages = messages[:-1]
            if not messages:
                raise _unknown(record, source, "a prompt")
            found.append(Prompt(messages, record, source))
    return _not_none(found, paths)


def messages_of(record: dict[str, Any], source: str) -> tuple[Message, ...]:
    """Return the turns of a record in any of the known forms, those that it has. Raises `CorpusError` on none."""
    for field, role, content in (("messages", "role", "content"), ("conversations", "from", "value")):
        if isinstance(record.get(field), list):
            return _turns(record[field], role, content, f"{source}, {field}")
    messages = [Message("system", _text(record, "system", source))] if record.get("system") else []
    if "instruction" in record:
        asked, further = _text(record, "instruction", source), record.get("input") or ""
        messages.append(Message("user", f"{asked}\n{further}" if further else asked))
        answer = "output"
    else:
        asked = next((field for field in PROMPT_FIELDS if field in record), None)
        if asked is None:
            raise _unknown(record, source, "a prompt")
        messages.append(Message("user", _text(record, asked, source)))
        answer = next((field for field in ANSWER_FIELDS if field in record), "")
    if answer in record:
        messages.append(Message("assistant", _text(record, answer, source)))
    return tuple(messages)


def _preference(record: dict[str, Any], source: str) -> Preference:
    if "chosen" not in record or "rejected" not in record:
        raise _unknown(record, source, "a chosen and a rejected answer")
    chosen, rejected = record["chosen"], record["rejected"]
    if isinstance(chosen, list) and isinstance(rejected, list):  # whole conversations with one beginning
        ours = _turns(chosen, "role", "content", f"{source}, chosen")
        theirs = _turns(rejected, "role", "content", f"{source}, rejected")
        if not ours or not theirs or ours[:-1] != theirs[:-1]:
            raise CorpusError(f"{source}: chosen and rejected must be the same but for their last message.")
        prompt, chosen, rejected = ours[:-1], ours[-1].content, theirs[-1].content
    else:
        prompt = messages_of(record, source)
        if prompt[-1].role == "assistant":
            prompt = prompt[:-1]
        chosen, rejected = _text(record, "chosen", source), _text(record, "rejected", source)
    _refuse_empty(chosen, source, "The chosen answer")
    _refuse_empty(rejected, source, "The rejected answer")
    return Preference(prompt, chosen, rejected, source)


def _turns(items: list[Any], role: str, content: str, source: str) -> tuple[Message, ...]:
    messages = []
    for item in items:
        if not isinstance(item, dict) or role not in item or not isinstance(item.get(content), str):
            raise CorpusError(f"{source}: each message has {role} and {content}, but one is {item!r:.60}.")
        if item[role] not in ROLES:
            raise CorpusError(
                f"{source}: there is no role {item[role]!r} here. Known roles: {', '.join(ROLES)}. Leave the "
                "message out, or write it as one of these."
            )
        messages.append(Message(ROLES[item[role]], item[content]))
    return tuple(messages)


def _text(record: dict[str, Any], field: str, source: str) -> str:
    value = record[field]
    if not isinstance(value, str):
        raise CorpusError(f"{source}: the field {field!r} holds {type(value).__name__} instead of a text.")
    return value


def _refuse_empty(text: str, source: str, what: str) -> None:
    if not text.strip():
        raise CorpusError(
            f"{source}: {what} is empty, so there is nothing to learn from it. Remove that record."
        )


def _unknown(record: dict[str, Any], source: str, wanted: str) -> CorpusError:
    return CorpusError(
        f"{source} has not {wanted}; its fields are: {', '.join(map(str, record)) or 'none'}. A record has {KNOWN}."
    )


def _not_none(found: list[Any], paths: Sequence[Path]) -> list[Any]:
    if not found:
        raise CorpusError(f"There is no record in {', '.join(map(str, paths)) or 'no file at all'}.")
    return found


def _json(path: Path) -> Iterator[tuple[Any, str]]:
    try:
        content = json.loads("".join(text_blocks(path)))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not valid JSON: {error}.") from error
    if isinstance(content, dict):
        content = next((value for value in content.values() if isinstance(value, list)), content)
    if not isinstance(content, list):
        raise CorpusError(f"{path} holds no list of records.")
    yield from ((record, f"{path}#{number}") for number, record in enumerate(content, start=1))


def _jsonl(path: Path) -> Iterator[tuple[Any, str]]:
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line), f"{path}:{number}"
        except (ValueError, RecursionError) as error:
            raise CorpusError(
                f"{path}:{number} is not valid JSON: {error}. Mend or remove that line."
            ) from error


def _csv(path: Path) -> Iterator[tuple[Any, str]]:
    rows = csv.DictReader(text_lines(path), strict=True)
    try:
        for row in rows:
            if None in row or None in row.values():
                raise CorpusError(f"{path}:{rows.line_num} has not as many columns as the header.")
            yield row, f"{path}:{rows.line_num}"
    except csv.Error as error:
        raise CorpusError(f"{path}:{rows.line_num} is not valid CSV: {error}.") from error


def _parquet(path: Path) -> Iterator[tuple[Any, str]]:
    parquet = require("pyarrow.parquet", extra="data", purpose="read .parquet files")
    arrow = require("pyarrow", extra="data", purpose="read .parquet files")
    try:
        with parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
            yield from ((row, f"{path}#{number}") for number, row in enumerate(rows, start=1))
    except (arrow.ArrowException, OSError) as error:
        raise CorpusError(f"{path} is not a whole Parquet file: {error}.") from error
