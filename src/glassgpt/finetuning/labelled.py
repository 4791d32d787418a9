"""Labelled texts: rows of a table or a list, or a folder with one folder of texts for each label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassgpt.corpus.decoding import text_blocks
from glassgpt.errors import CorpusError, did_you_mean
from glassgpt.finetuning.records import read_records

TEXT_FIELDS = ("text", "sentence", "message", "review", "content")
LABEL_FIELDS = ("label", "class", "category", "sentiment", "target")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its label."""

    text: str
    label: str
    source: str


def read_labelled(
    paths: Sequence[Path], *, text_field: str | None = None, label_field: str | None = None
) -> list[Labelled]:
    """Return all texts with their labels. Raises `CorpusError` where a record has none, or there is one label only."""
    found = [item for path in paths for item in _read(path, text_field, label_field)]
    labels = sorted({item.label for item in found})
    if len(labels) < 2:
        only = f"only the label {labels[0]!r}" if labels else "no labelled text"
        raise CorpusError(
            f"There is {only} in {', '.join(map(str, paths)) or 'no file at all'}: telling apart takes two labels."
        )
    return found


def _read(path: Path, text_field: str | None, label_field: str | None) -> Iterator[Labelled]:
    if path.is_dir():
        yield from _folder(path)
        return
    for record, source in read_records(path):
        text = _field(record, text_field, TEXT_FIELDS, "text_field", source)
        label = _field(record, label_field, LABEL_FIELDS, "label_field", source)
        if not text.strip():
            raise CorpusError(
                f"{source}: the text is empty, so there is nothing to tell its label by. Remove it."
            )
        yield Labelled(text, label, source)


def _folder(path: Path) -> Iterator[Labelled]:
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        for file in sorted(folder.glob("*.txt")):
            yield Labelled("".join(text_blocks(file)), folder.name, str(file))


def _field(record: dict[str, Any], wanted: str | None, usual: Sequence[str], option: str, source: str) -> str:
    field = next((name for name in ([wanted] if wanted else usual) if name in record), None)
    if field is None or record[field] is None:
        looked = repr(wanted) if wanted else f"any of {', '.join(usual)}"
        near = did_you_mean(wanted, record) if wanted else ""
        raise CorpusError(
            f"{source} has no field {looked}; its fields are: {', '.join(map(str, record)) or 'none'}.{near} Name it "
            f"with --{option.replace('_', '-')}."
        )
    return str(record[field])
