"""Labelled texts: rows of a table or a list, or a folder with one folder of texts for each label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassgpt.corpus.decoding import whole_text
from glassgpt.corpus.formats import Record, format_named
from glassgpt.corpus.json_values import LARGEST_RECORD
from glassgpt.corpus.records import kind_of, shown_fields
from glassgpt.corpus.sources import files_below
from glassgpt.corpus.textfiles import read_text
from glassgpt.errors import CorpusError, did_you_mean
from glassgpt.finetuning.gathering import NothingToLearn, Say, fields_of, gather, places, records_of

TEXT_FIELDS = ("text", "sentence", "message", "review", "content")
MOST_NAMED = 20
"""Labels that are named in a line."""
LABEL_FIELDS = ("label", "class", "category", "sentiment", "target")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its label."""

    text: str
    label: str
    source: str


def read_labelled(
    paths: Sequence[Path],
    *,
    text_field: str | None = None,
    label_field: str | None = None,
    say: Say = lambda _: None,
    labels_as_written: bool = False,
    known: Sequence[str] | None = None,
) -> list[Labelled]:
    """Return all texts with their labels; `say` receives a line about those that were left out.

    With `labels_as_written` an empty label is accepted and spaces around a label belong to it, as in version 0.1.0.
    `known` are the labels of a finished classifier that is measured on the texts.

    Raises `CorpusError` if a record has no text or label, or a label that is not `known`. To learn from, there must be
    two labels.
    """
    can_name = known is None  # the command that measures has no option for the field of the labels

    def make(record: Any, source: str) -> Labelled:
        fields = fields_of(record, source)
        text = _field(fields, text_field, TEXT_FIELDS, "text_field", source)
        label = _field(fields, label_field, LABEL_FIELDS, "label_field", source, can_name=can_name)
        if not text.strip():
            raise NothingToLearn("an empty text")
        if labels_as_written:
            return Labelled(text, label, source)
        if not label.strip():
            raise NothingToLearn("an empty label")
        return Labelled(text, label.strip(), source)

    found = gather(_records(paths, say), make, paths, say)
    labels = sorted({item.label for item in found})
    if known is not None:
        _refuse_unknown(found, known)
    elif len(labels) < 2:
        raise CorpusError(
            f"There is only the label {labels[0]!r} in {places(paths)}: classification needs at least two labels."
        )
    return found


def _refuse_unknown(texts: Sequence[Labelled], known: Sequence[str]) -> None:
    strange = {item.label: item.source for item in reversed(texts) if item.label not in known}
    if not strange:
        return
    label, source = list(strange.items())[-1]
    others = f" Nor has it learned {places(list(strange)[-2::-1])}." if len(strange) > 1 else ""
    raise CorpusError(
        f"{source} has the label {label!r}, which the run has not learned.{did_you_mean(label, known)}{others} Its "
        f"labels: {named(known)}. Correct the label, or leave such texts out."
    )


def named(labels: Sequence[str]) -> str:
    """Return labels for a message, of many only the first and the number of the others."""
    shown = ", ".join(labels[:MOST_NAMED])
    return shown if len(labels) <= MOST_NAMED else f"{shown} and {len(labels) - MOST_NAMED:,} more"


def label_notes(texts: Sequence[Labelled], learn: Sequence[int], hold: Sequence[int]) -> list[str]:
    """Return sentences about labels that make the figures less meaningful than they look.

    `learn` and `hold` are the places of the training texts and of the held-out texts.
    """
    seen, held = (Counter(texts[index].label for index in rows) for rows in (learn, hold))
    usual = max(seen, key=lambda label: (seen[label], label))
    notes = [
        f"Always answering {usual!r} would be right for {held[usual]:,} of the {len(hold):,} held-out texts "
        f"(accuracy {held[usual] / len(hold):.3f})."
    ]
    if unmeasured := sorted(set(seen) - set(held)):
        notes.append(f"These labels have no held-out text, so they are not measured: {places(unmeasured)}.")
    said: dict[str, dict[str, str]] = {}
    for item in texts:
        said.setdefault(item.text.strip(), {}).setdefault(item.label, item.source)
    if doubtful := [where for where in said.values() if len(where) > 1]:
        notes.append(
            f"{len(doubtful):,} {'texts have' if len(doubtful) > 1 else 'text has'} more than one label, such as "
            f"{' and '.join(list(doubtful[0].values())[:2])}: no answer is right for both."
        )
    alike: dict[str, list[str]] = {}
    for label in sorted({*seen, *held}):
        alike.setdefault(label.casefold(), []).append(label)
    for names in (names for names in alike.values() if len(names) > 1):
        notes.append(f"{' and '.join(names)} differ only in capitals, but count as different labels.")
    return notes


def _records(paths: Sequence[Path], say: Say) -> Iterator[Record]:
    for path in paths:
        if path.is_dir():
            yield from _folder(path)
        else:
            yield from records_of([path], TEXT_FIELDS, say)


def _folder(path: Path) -> Iterator[Record]:
    """Yield the texts of a folder that has a folder for each label, as records."""
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."):
        for file in files_below(folder):
            known = format_named(file)
            if known is not None and known.documents is read_text:
                text = whole_text(file, longest=LARGEST_RECORD)
                yield {TEXT_FIELDS[0]: text, LABEL_FIELDS[0]: folder.name}, str(file)


def _field(
    record: dict[str, Any],
    wanted: str | None,
    usual: Sequence[str],
    option: str,
    source: str,
    *,
    can_name: bool = True,
) -> str:
    field = next((name for name in ([wanted] if wanted else usual) if name in record), None)
    if field is None:
        looked = repr(wanted) if wanted else f"any of {', '.join(usual)}"
        near = did_you_mean(wanted, record) if wanted else ""
        way_out = (
            f"Name it with --{option.replace('_', '-')}."
            if can_name
            else f"Rename the field that holds it to {wanted or usual[0]}."
        )
        raise CorpusError(
            f"{source} has no field {looked}; its fields are: {shown_fields(record)}.{near} {way_out}"
        )
    value = record[field]
    if value is None or value != value:  # some programs write NaN for a missing value
        return ""
    if not isinstance(value, str | int | float):
        raise CorpusError(
            f"{source}: the field {field!r} holds {kind_of(value)}, which is neither a text nor a label."
        )
    return str(value)
