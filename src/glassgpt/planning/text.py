"""What a plan needs to know about a text: how much of it training will see, and how long its documents are.

The text is examined as training will see it: read, cleaned and split by the same settings. The beginning of a long
text is enough. A short one is tokenized at once, so that its plan rests on the tokens that training will use.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from glassgpt.corpus.cleaning import CleaningReport, clean
from glassgpt.corpus.repeats import compressed_bits
from glassgpt.corpus.sources import nothing_left, open_sources, read_all
from glassgpt.corpus.splits import SPLITS, all_held_out, split
from glassgpt.runs.config import RunConfig
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.train import train_tokenizer

WORD_CHARACTERS = 2_000_000
"""Words are counted in this many characters from the beginning."""
LOOK_CHARACTERS = 16_000_000
"""A longer text is judged by its beginning and the size of its files: reading it all would take too long."""
SHORT_CHARACTERS = 200_000
"""A text up to this length is tokenized for its plan, which takes a fraction of a second."""

WORD = re.compile(r" ?\w+|[^\w\s]+|\s+")
"""Roughly how a byte-level vocabulary cuts text into pieces."""


@dataclass(frozen=True, slots=True)
class TextFacts:
    """A corpus in a few numbers, cleaned and split as training will see it."""

    bytes: int
    """UTF-8 bytes in all splits."""
    documents: int
    """Documents in the part that was examined."""
    usual_bytes: int
    """The length that nine of ten documents do not exceed."""
    words: int
    """Different words that occur more than once in the beginning of the text: the most a vocabulary could hold."""
    word_bytes: float
    """Mean bytes of a word there, with the space or the punctuation after it."""
    exact: bool
    """Whether all of the text was examined."""
    training_share: float = 0.9
    """Share of the bytes in the training split."""
    notes: tuple[str, ...] = ()
    """What readers inferred from a file, such as whether its first row is a heading."""
    tokens: tuple[int, int] | None = None
    """Tokens to train on and to validate on, where the text was short enough to count them."""

    compressed: float | None = None
    """Bits per byte that a file compressor needs for held-out text from the beginning (`corpus.repeats`)."""

    @property
    def training_bytes(self) -> float:
        """Bytes of text to train on."""
        return self.bytes * self.training_share

    @property
    def token_bytes(self) -> float | None:
        """Bytes per token, where tokens were counted."""
        return self.training_bytes / self.tokens[0] if self.tokens and self.tokens[0] else None


@dataclass(frozen=True)
class ShortText:
    """The whole of a short text, by split."""

    splits: dict[str, list[tuple[str, bool]]]
    """By split, each text and whether a document ends with it."""

    def tokenized(self, facts: TextFacts, config: TokenizerConfig) -> tuple[TextFacts, int]:
        """Return the facts with the number of tokens, and the vocabulary's actual size."""
        names = SPLITS if config.kind == "char" else SPLITS[:1]
        tokenizer = train_tokenizer([text for name in names for text, _ in self.splits[name]], config)
        train, validation = (
            sum(len(tokenizer.encode(text)) + ends for text, ends in self.splits[name]) for name in SPLITS[:2]
        )
        return replace(facts, tokens=(train, validation)), tokenizer.vocab_size


def look_at(
    config: RunConfig, *, most_characters: int = LOOK_CHARACTERS
) -> tuple[TextFacts, ShortText | None]:
    """Return the facts about the corpus of `config`, and the text itself where it is short.

    Raises `CorpusError` when it cannot be read, or when nothing is left of it.
    """
    corpus = config.corpus
    sources = open_sources(list(corpus.sources), text_field=corpus.text_field)
    looked = _Look()
    documents = clean(read_all(sources), config.cleaning, CleaningReport())
    for name, document in split(documents, config.split):
        looked.add(name, document.text, ends=document.is_last_piece)
        if looked.characters >= most_characters:
            break
    if looked.characters and not looked.bytes["train"]:
        raise all_held_out(corpus.sources, config.split)
    if not looked.characters:
        raise nothing_left(corpus.sources, text_field=corpus.text_field)
    exact = looked.characters < most_characters
    known = sum(source.bytes or 0 for source in sources)
    short = ShortText(looked.texts) if exact and looked.characters <= SHORT_CHARACTERS else None
    notes = tuple(note for source in sources for note in source.notes)
    return replace(looked.facts(exact=exact, known=known), notes=notes), short


class _Look:
    """What was counted so far."""

    def __init__(self) -> None:
        self.characters = 0
        self.bytes: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self.texts: dict[str, list[tuple[str, bool]]] = {name: [] for name in SPLITS}
        self._lengths: list[int] = []
        self._open = 0
        self._words: Counter[str] = Counter()

    def add(self, name: str, text: str, *, ends: bool) -> None:
        """Take in a document, or a piece of one."""
        if self.characters < WORD_CHARACTERS:
            self._words.update(WORD.findall(text[:WORD_CHARACTERS]))
        if self.characters <= SHORT_CHARACTERS:
            self.texts[name].append((text, ends))
        size = len(text.encode("utf-8", "surrogatepass"))
        self.bytes[name] += size
        self.characters += len(text)
        self._open += size
        if ends:
            self._lengths.append(self._open)
            self._open = 0

    def _beginning(self, name: str) -> bytes:
        return "\n".join(text for text, _ in self.texts[name]).encode("utf-8", "surrogatepass")

    def facts(self, *, exact: bool, known: int) -> TextFacts:
        """Return the counts as facts; `known` is the number of bytes in all files."""
        seen = sum(self.bytes.values())
        lengths = self._lengths or [self._open]
        spelled = sum(
            count * len(word.encode("utf-8", "surrogatepass")) for word, count in self._words.items()
        )
        return TextFacts(
            bytes=seen if exact else max(seen, known),
            documents=len(lengths),
            usual_bytes=int(np.percentile(lengths, 90)),
            words=sum(count > 1 for count in self._words.values()),
            word_bytes=spelled / max(1, self._words.total()),
            exact=exact,
            training_share=self.bytes["train"] / seen,
            compressed=compressed_bits(*(self._beginning(name) for name in SPLITS[:2])),
        )
