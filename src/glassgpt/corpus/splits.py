"""Which text a model trains on, and which is held out to measure whether it learned or memorised.

Three rules, by the kind of document:

1. A short whole document is placed by its content: SHA-256 of the seed and the text, read as a number in
   [0, 1), is below `validation`, or below `validation + test`, or above. So the split of a document never
   depends on the others: when documents are added or reordered, no document changes its split, and exact
   copies stay together.
2. A long document (of `long_document` characters, or one that comes in pieces) is cut: its beginning is for
   training, then comes the validation part, then the test part. The cuts are at exact characters,
   int(length * (1 - validation - test)) and int(length * (1 - test)): with the defaults and a single file,
   the usual 90/10 cut of character-level examples.
3. If there are too few short documents for rule 1 to be fair (the smallest split would get fewer than
   `EXPECTED` on average), they are cut as in rule 2. Up to `LOOK_AHEAD` characters are held in memory to find
   out. This also makes a single short file work.

A part of a cut document knows which share of the whole it is; only the last part `is_last_piece`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from glassgpt.corpus.documents import Document
from glassgpt.errors import ConfigError, CorpusError
from glassgpt.files import hash_text
from glassgpt.idle import OnlyWith

SPLITS = ("train", "validation", "test")
EXPECTED = 10  # so a split is empty by chance only about once in e^10, some twenty thousand times
LOOK_AHEAD = 4_000_000  # characters
LONGEST = LOOK_AHEAD // 40  # longer documents must be cut: a few of them would make any split uneven


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """The shares to hold out, and what counts as long."""

    validation: float = 0.1
    """Share of the text to measure on while training."""
    test: float = 0.0
    """Share of the text to keep for the end."""
    seed: int = 0
    """Another seed holds out other documents."""
    long_document: int = 20_000
    """A document with at least this number of characters is cut; a shorter one goes whole to one split."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(
            ("seed", "long_document"),
            "validation",
            test=lambda split: split.validation + split.test > 0,
            use="0.1",
        ),
    )

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"split.{name} is {getattr(self, name)}; it must be a share from 0 to below 1."
                )
        if self.validation + self.test >= 1:
            raise ConfigError("split.validation and split.test together leave nothing to train on.")
        if not 1 <= self.long_document <= LONGEST:
            raise ConfigError(
                f"split.long_document is {self.long_document}; it must be from 1 to {LONGEST:,}."
            )


def split(documents: Iterable[Document], config: SplitConfig) -> Iterator[tuple[str, Document]]:
    """Yield ("train" | "validation" | "test", document or part of one) for all documents.

    Long documents may come before short ones that were held in memory to choose between rules 1 and 3.
    """
    documents = iter(documents)
    held: list[Document] = []
    needed, characters = documents_for_hashing(config), 0
    while len(held) < needed and characters < LOOK_AHEAD:
        document = next(documents, None)
        if document is None:
            for short in held:
                yield from cut(short, config)
            return
        if _is_long(document, config):
            yield from cut(document, config)
        else:
            held.append(document)
            characters += len(document.text)
    for document in held:
        yield place(document.text, config), document
    held.clear()
    for document in documents:
        if _is_long(document, config):
            yield from cut(document, config)
        else:
            yield place(document.text, config), document


def documents_for_hashing(config: SplitConfig) -> int:
    """Return the number of short documents that splitting by hash (rule 1) needs."""
    shares = [share for share in (config.validation, config.test) if share > 0]
    return math.ceil(EXPECTED / min(shares)) if shares else 0


def place(text: str, config: SplitConfig) -> str:
    """Return the split of a short document, from its content and the seed alone."""
    uniform = place_in_order(text, config.seed)
    if uniform < config.validation:
        return "validation"
    return "test" if uniform < config.validation + config.test else "train"


def place_in_order(text: str, seed: int) -> float:
    """Return a number in [0, 1), uniformly distributed, that depends only on the text and the seed."""
    return int(hash_text(f"{seed}\n{text}")[:13], 16) / 16**13  # 52 bits, exact in a float


def cut(document: Document, config: SplitConfig) -> Iterator[tuple[str, Document]]:
    """Yield the parts of a document, or of a piece of one, that belong to each split."""
    text, last = document.text, SPLITS[-1] if config.test else SPLITS[1] if config.validation else SPLITS[0]
    if not text:
        yield last if document.is_last_piece else SPLITS[0], document
        return
    whole = round(len(text) / (document.ends - document.begins))  # the length of the whole document
    offset = round(document.begins * whole)
    shares = (1 - config.validation - config.test, 1 - config.test)
    inner = (len(text) if share == 1 else int(whole * share) - offset for share in shares)
    edges = (0, *(min(max(edge, 0), len(text)) for edge in inner), len(text))
    for name, start, stop in zip(SPLITS, edges, edges[1:], strict=False):
        if start < stop:
            begins = document.begins if start == 0 else (offset + start) / whole
            ends = document.ends if stop == len(text) else (offset + stop) / whole
            yield name, replace(document, text=text[start:stop], begins=begins, ends=ends)


def all_held_out(sources: Sequence[str], config: SplitConfig) -> CorpusError:
    """Return the error for sources whose text is all held out by the split."""
    shares = f"split.validation is {config.validation:g}"
    if config.test:
        shares += f", split.test {config.test:g}"
    return CorpusError(
        f"All the text in {', '.join(sources[:3])} is held out to measure on ({shares}), and nothing is left to train "
        "on. Give more text, or hold out less."
    )


def _is_long(document: Document, config: SplitConfig) -> bool:
    return not document.is_whole or len(document.text) >= config.long_document
