"""What a plan needs to know of a text: how much there is, and how long its documents are."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from glassgpt.corpus.sources import open_sources, read_all
from glassgpt.runs.config import CorpusConfig

WORD_CHARACTERS = 2_000_000
"""Words are counted in the first so many characters."""
LOOK_CHARACTERS = 16_000_000
"""A longer text is judged by its beginning and the size of its files: reading it all would take too long."""

WORD = re.compile(r" ?\w+|[^\w\s]+|\s+")
"""Roughly what a byte-level vocabulary takes for a piece."""


@dataclass(frozen=True, slots=True)
class TextFacts:
    """A corpus in four numbers."""

    bytes: int
    """UTF-8 bytes in all."""
    documents: int
    """Documents in what was looked at."""
    usual_bytes: int
    """Length that nine of ten documents do not exceed."""
    words: int
    """Different words that occur more than once in the beginning of the text: all that a vocabulary could hold."""
    word_bytes: float
    """Bytes of a usual word there, with the space or the sign after it."""
    exact: bool
    """Whether all of the text was looked at."""


def look_at(corpus: CorpusConfig, *, most_characters: int = LOOK_CHARACTERS) -> TextFacts:
    """Read a corpus, or the beginning of a long one. Raises `CorpusError` when it cannot be read."""
    sources = open_sources(list(corpus.sources), text_field=corpus.text_field)
    lengths: list[int] = []
    characters, seen, open_bytes, exact = 0, 0, 0, True
    words: Counter[str] = Counter()
    for document in read_all(sources):
        if characters < WORD_CHARACTERS:
            words.update(WORD.findall(document.text[:WORD_CHARACTERS]))
        size = len(document.text.encode("utf-8", "surrogatepass"))
        seen, characters, open_bytes = seen + size, characters + len(document.text), open_bytes + size
        if document.is_last_piece:
            lengths.append(open_bytes)
            open_bytes = 0
        if characters >= most_characters:
            exact = False
            break
    lengths = lengths or [open_bytes]
    known = sum(source.bytes or 0 for source in sources)
    spelled = sum(count * len(word.encode()) for word, count in words.items())
    return TextFacts(
        bytes=seen if exact else max(seen, known),
        documents=len(lengths),
        usual_bytes=int(np.percentile(lengths, 90)),
        words=sum(count > 1 for count in words.values()),
        word_bytes=spelled / max(1, words.total()),
        exact=exact,
    )
