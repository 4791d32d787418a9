"""What a corpus contains, and whether its validation text is really unseen: a check before training.

One pass, in bounded memory: distinct and shared items are counted from a sample of known share (sketches.py),
which is exact on small corpora. Near-duplicates are searched among the first `NEAR_LIMIT` documents only.

The leak check matters because a loss on validation text that is also in the training text measures
memorisation. Two shares are reported: the validation documents that are also training documents, word for
word, and the 13-word runs of the validation text that are also in the training text. A few in a thousand of
the latter are idioms and quotations; more is copying.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from glassgpt.corpus.documents import Document
from glassgpt.corpus.near_duplicates import NearDuplicates
from glassgpt.corpus.sketches import DistinctSample, hash_runs, hash_texts, hash_words, shared
from glassgpt.corpus.splits import SPLITS, SplitConfig, split

NEAR_LIMIT = 20_000  # documents
NEAR_LIKENESS = 0.8
FIRST_WORDS = 8


@dataclass(frozen=True, slots=True)
class Extreme:
    """The longest or the shortest document."""

    characters: int
    source: str
    first_words: str


@dataclass(slots=True)
class SplitCount:
    """How much text one split has. A document that is cut counts in every split that has a part of it."""

    documents: int = 0
    characters: int = 0


@dataclass(frozen=True, slots=True)
class Leak:
    """Shares (0 to 1) of a held-out split that are also in the training split; `runs` is None if it has no runs."""

    documents: float
    runs: float | None


@dataclass(slots=True)
class Survey:
    """The figures of a corpus. Without a tokenizer `tokens` is None; without rensa `near_duplicates` is None."""

    documents: int = 0
    characters: int = 0
    bytes: int = 0  # as UTF-8
    words: int = 0  # separated by white space
    tokens: int | None = None
    unknown: int = 0  # tokens for text that is not in the vocabulary
    distinct_words: int = 0  # ignoring case
    vocabulary_growth: list[tuple[int, int]] = field(default_factory=list)  # (words so far, distinct ones)
    duplicates: int = 0  # whole documents that repeat an earlier one
    near_duplicates: int | None = (
        None  # whole documents nearly the same as an earlier one, exact ones included
    )
    longest: Extreme | None = None
    shortest: Extreme | None = None
    splits: dict[str, SplitCount] = field(default_factory=dict)
    leaks: dict[str, Leak] = field(default_factory=dict)  # for "validation" and "test", if they have text
    is_sampled: bool = False  # whether distinct_words and duplicates had to be estimated

    def to_dict(self) -> dict[str, Any]:
        """Return the survey as plain values."""
        return asdict(self)


def survey(
    documents: Iterable[Document],
    *,
    tokenize: Callable[[str], Sequence[int]] | None = None,
    unknown_id: int | None = None,
    split_config: SplitConfig | None = None,
) -> Survey:
    """Read all documents once and return their figures, as they would be split by `split_config`."""
    counters = _Counters(tokenize, unknown_id)
    for name, part in split(counters.watch(documents), split_config or SplitConfig()):
        counters.count_part(name, part)
    return counters.finish()


class _Counters:
    """The running state of a survey: one pass counts each document whole, then its parts after the split."""

    def __init__(self, tokenize: Callable[[str], Sequence[int]] | None, unknown_id: int | None = None):
        self.unknown_id = unknown_id
        self.survey = Survey(tokens=None if tokenize is None else 0)
        self.tokenize = tokenize
        self.vocabulary, self.whole_texts, self.whole_count = DistinctSample(), DistinctSample(), 0
        self.texts = {name: DistinctSample() for name in SPLITS}
        self.runs = {name: DistinctSample() for name in SPLITS}
        self.next_point = 1_000
        self.near = NearDuplicates(NEAR_LIKENESS) if importlib.util.find_spec("rensa") else None
        self.near_duplicates = 0
        self.piece_length, self.piece_words = 0, ""
        self.last_source: dict[str, str] = {}

    def watch(self, documents: Iterable[Document]) -> Iterable[Document]:
        """Count each document on its way to the split."""
        for document in documents:
            self.count_text(document.text)
            self.count_length(document)
            if document.is_whole:
                self.count_duplicates(document.text)
            yield document

    def count_text(self, text: str) -> None:
        figures, words = self.survey, hash_words(text)
        figures.characters += len(text)
        figures.bytes += len(text.encode("utf-8", "replace"))
        figures.words += len(words)
        self.vocabulary.add(words)
        if self.tokenize is not None and figures.tokens is not None:
            ids = self.tokenize(text)
            figures.tokens += len(ids)
            figures.unknown += 0 if self.unknown_id is None else ids.count(self.unknown_id)
        if figures.words >= self.next_point:
            figures.vocabulary_growth.append((figures.words, self.vocabulary.count))
            while self.next_point <= figures.words:
                self.next_point *= 4

    def count_length(self, document: Document) -> None:
        if document.is_first_piece:
            self.piece_length, self.piece_words = 0, " ".join(document.text[:200].split()[:FIRST_WORDS])
        self.piece_length += len(document.text)
        if not document.is_last_piece:
            return
        figures, this = self.survey, Extreme(self.piece_length, document.source, self.piece_words)
        figures.documents += 1
        if figures.longest is None or this.characters > figures.longest.characters:
            figures.longest = this
        if figures.shortest is None or this.characters < figures.shortest.characters:
            figures.shortest = this

    def count_duplicates(self, text: str) -> None:
        self.whole_count += 1
        self.whole_texts.add(hash_texts([text.strip()]))
        if self.near is not None and self.whole_count <= NEAR_LIMIT:
            self.near_duplicates += self.near.seen(text)

    def count_part(self, name: str, part: Document) -> None:
        counted = self.survey.splits.setdefault(name, SplitCount())
        counted.documents += part.is_whole or part.source != self.last_source.get(name)
        counted.characters += len(part.text)
        self.last_source[name] = part.source
        self.texts[name].add(hash_texts([part.text.strip()]))
        self.runs[name].add(hash_runs(hash_words(part.text)))

    def finish(self) -> Survey:
        figures = self.survey
        figures.distinct_words = self.vocabulary.count
        figures.vocabulary_growth.append((figures.words, figures.distinct_words))
        figures.duplicates = max(self.whole_count - self.whole_texts.count, 0)
        figures.near_duplicates = None if self.near is None else self.near_duplicates
        figures.splits = {name: figures.splits[name] for name in SPLITS if name in figures.splits}
        for name in figures.splits:
            if name != "train" and "train" in figures.splits:
                documents = shared(self.texts[name], self.texts["train"])
                has_runs = self.runs[name].count > 0
                runs = shared(self.runs[name], self.runs["train"]) if has_runs else None
                figures.leaks[name] = Leak(documents, runs)
        figures.is_sampled = self.vocabulary.level > 0 or self.whole_texts.level > 0
        return figures
