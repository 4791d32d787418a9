"""Cleaning: repair damaged text, drop text that teaches nothing, and report both.

    off      nothing is changed or dropped; the report still counts
    gentle   repairs that no reader would miss: doubly encoded characters ("â€œ" for a quotation mark, by
             ftfy), composed characters (Unicode NFC), line ends, control characters; blank documents and
             exact duplicates are dropped. Clean text passes without a byte changed.
    strict   for text from the web: also collapses runs of white space, and drops documents that are too short
             or repeat themselves (repetition.py), and near-duplicates (near_duplicates.py)

Not done in any mode: NFKC, straightening quotation marks, decoding HTML entities. They change what an author
may have meant. Pieces of a long document are repaired but never dropped, so that the document stays whole.

Everything streams and is deterministic. Memory grows only by what detects duplicates: for each whole document
a digest of 16 bytes (about 100 bytes in Python), and in strict mode a sketch of about 1 kB.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from hashlib import blake2b
from typing import Any, ClassVar, Literal

from glassgpt.corpus.documents import Document
from glassgpt.corpus.near_duplicates import NearDuplicates
from glassgpt.corpus.repetition import repetitions
from glassgpt.errors import ConfigError
from glassgpt.idle import OnlyWith

LINE_END = re.compile("\r\n|[\r\x0b\x0c\u2028\u2029]")
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]"
)  # all of category Cc except \n and \t, and stray marks
PLAIN = re.compile("[\n\t -~–—‘’“”…]*")  # characters that no gentle repair touches
SUSPECT = re.compile("[^\x00-\x7f–—‘’“”…]")  # ftfy changes no line without one of these
SPACES = re.compile("[ \t\u00a0]{2,}")
BLANK_LINES = re.compile(r"\n{3,}")
ROUNDS = 8  # one repair can uncover another; no known text needed more than three rounds
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class CleaningConfig:
    """How to clean. The numbers apply in strict mode only."""

    mode: Literal["off", "gentle", "strict"] = "gentle"
    """off changes nothing; gentle repairs characters and drops exact copies; strict also filters."""
    min_words: int = 50
    """strict: shorter documents are dropped (Gopher's limit)."""
    repetition: bool = True
    """strict: drop documents that repeat themselves."""
    near_duplicates: float = 0.8
    """strict: drop a document this similar to an earlier one (Jaccard similarity); 0 keeps them."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(("min_words", "repetition", "near_duplicates"), "mode", ("strict",)),
    )

    def __post_init__(self) -> None:
        if self.mode not in ("off", "gentle", "strict"):
            raise ConfigError(f"cleaning.mode is {self.mode!r}; it must be off, gentle or strict.")
        if self.min_words < 0:
            raise ConfigError(f"cleaning.min_words is {self.min_words}; it must not be negative.")
        if not 0 <= self.near_duplicates <= 1:
            raise ConfigError(f"cleaning.near_duplicates is {self.near_duplicates}; it must be from 0 to 1.")


@dataclass(slots=True)
class Dropped:
    """The documents dropped for one reason, with the first few sources."""

    documents: int = 0
    characters: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class CleaningReport:
    """What went in, what came out, and what was changed. A document in pieces counts as one."""

    mode: str = "gentle"
    documents_read: int = 0
    characters_read: int = 0
    documents_kept: int = 0
    characters_kept: int = 0
    repaired: Counter[str] = field(default_factory=Counter)  # kind of repair -> documents (or pieces) changed
    dropped: dict[str, Dropped] = field(default_factory=dict)  # reason -> the dropped documents

    def lines(self) -> list[str]:
        """Return the report as sentences for people."""
        kept = f"{self.documents_kept:,} of {_documents(self.documents_read)} kept"
        said = [f"{kept}, {self.characters_kept:,} of {self.characters_read:,} characters ({self.mode})."]
        said += [f"Repaired in {_documents(count)}: {kind}." for kind, count in self.repaired.most_common()]
        for reason, what in sorted(self.dropped.items(), key=lambda item: -item[1].documents):
            examples = ", ".join(what.examples) + (", ..." if what.documents > len(what.examples) else "")
            size = f"{_documents(what.documents)} ({what.characters:,} characters)"
            said.append(f"Dropped {size}: {reason}. For example {examples}.")
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {**asdict(self), "repaired": dict(self.repaired)}

    def drop(self, document: Document, reason: str) -> None:
        """Count a document that is dropped."""
        what = self.dropped.setdefault(reason, Dropped())
        what.documents += 1
        what.characters += len(document.text)
        if len(what.examples) < EXAMPLES:
            what.examples.append(document.source)


def clean(
    documents: Iterable[Document], config: CleaningConfig, report: CleaningReport
) -> Iterator[Document]:
    """Yield the documents that are kept, after repairs, and fill `report`.

    Raises `MissingExtraError` in strict mode when near-duplicates are to be dropped and rensa is missing.
    """
    report.mode = config.mode
    why_dropped = _judge(config)
    for document in documents:
        report.documents_read += document.is_first_piece
        report.characters_read += len(document.text)
        if config.mode != "off":
            text, repairs = repair(document.text, strict=config.mode == "strict")
            report.repaired.update(repairs)
            document = document if text is document.text else replace(document, text=text)
        if document.is_whole and (reason := why_dropped(document.text)):
            report.drop(document, reason)
            continue
        report.documents_kept += document.is_first_piece
        report.characters_kept += len(document.text)
        yield document


def repair(text: str, *, strict: bool = False) -> tuple[str, set[str]]:
    """Return the repaired text and the names of the repairs that changed it.

    Repairs are repeated until nothing changes, so that repairing a second time changes nothing.
    """
    if not strict and PLAIN.fullmatch(text):
        return text, set()
    done: set[str] = set()
    for _ in range(ROUNDS):
        before = text
        for name, repair in GENTLE_REPAIRS + (STRICT_REPAIRS if strict else ()):
            repaired = repair(text)
            if repaired != text:
                text, done = repaired, done | {name}
        if text == before:
            break
    return text, done


def _judge(config: CleaningConfig) -> Callable[[str], str | None]:
    """Return a function that says why a whole document is dropped, or None; it remembers earlier documents."""
    if config.mode == "off":
        return lambda _: None
    digests: set[bytes] = set()
    strict = config.mode == "strict"
    alike = NearDuplicates(config.near_duplicates) if strict and config.near_duplicates else None

    def why(text: str) -> str | None:
        text = text.strip()
        if not text:
            return "blank"
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in digests:
            return "the same as an earlier one"
        digests.add(digest)
        if strict and len(text.split()) < config.min_words:
            return f"shorter than {config.min_words} words"
        if strict and config.repetition and (which := next(repetitions(text), None)):
            return f"repeats itself: {which}"
        return "nearly the same as an earlier one" if alike is not None and alike.seen(text) else None

    return why


def _mend_encoding(text: str) -> str:
    """Undo double encoding, line by line as ftfy does, in lines with more than ASCII and common punctuation."""
    if not SUSPECT.search(text):
        return text
    return "\n".join(_mend_line(line) if SUSPECT.search(line) else line for line in text.split("\n"))


def _mend_line(line: str) -> str:
    import ftfy

    return ftfy.fix_text(line, _ftfy_config())


@cache
def _ftfy_config():
    """Configure ftfy to repair encoding only: anything that an author may have meant stays."""
    import ftfy

    return ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )


def _collapse(text: str) -> str:
    text = SPACES.sub(" ", text).replace(" \n", "\n").replace("\t\n", "\n")
    return BLANK_LINES.sub("\n\n", text)


# Encoding comes first: ftfy needs the control characters that later repairs remove.
GENTLE_REPAIRS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("characters encoded twice", _mend_encoding),
    ("line ends", lambda text: LINE_END.sub("\n", text)),
    ("control characters", lambda text: CONTROL.sub("", text)),
    ("composed characters (NFC)", lambda text: unicodedata.normalize("NFC", text)),
)
STRICT_REPAIRS = (("runs of white space", _collapse),)


def _documents(count: int) -> str:
    return f"{count:,} document{'' if count == 1 else 's'}"
