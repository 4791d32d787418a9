"""Plain text files as documents.

A file is one document, unless it holds `<|endoftext|>` separators. Then each text between them is one,
without the newlines next to a separator (and, in such a file, without those at its end). Nothing else is
changed, so a file without separators is read character for character.

A document of up to `BLOCK` characters is never cut. A longer one is cut before a line end or a space, so
that no word is split, and its pieces say which share of the document they are. The share needs the
document's length before its end is read. So from the first long document on, a second reader of the same
file runs one step ahead. Memory stays constant, and `book.txt.gz` is cut exactly where `book.txt` is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from glassgpt.corpus.decoding import text_blocks
from glassgpt.corpus.documents import Document

SEPARATOR = "<|endoftext|>"
BLOCK = 1 << 20  # characters
NEWLINES = "\r\n"


def read_text(path: Path, *, block: int = BLOCK) -> Iterator[Document]:
    """Yield a text file's documents. Raises `CorpusError` when it is not text."""
    yield from documents_of(lambda: text_blocks(path), name=str(path), block=block)


def documents_of(blocks: Callable[[], Iterable[str]], *, name: str, block: int = BLOCK) -> Iterator[Document]:
    """Yield the documents of a text. Each call of `blocks` yields that text again, in parts."""
    lengths = _document_lengths(blocks, block)
    index = measured = position = length = 0
    for text, is_last in _cut_long(blocks(), block):
        source = f"{name}#{index + 1}" if index else name
        if position == 0 and is_last:
            yield Document(text, source)
            index += 1
            continue
        while measured <= index:
            length, measured = next(lengths), measured + 1
        begins, position = position / length, position + len(text)
        yield Document(text, source, begins, 1.0 if is_last else position / length)
        if is_last:
            index, position = index + 1, 0


def _document_lengths(blocks: Callable[[], Iterable[str]], block: int) -> Iterator[int]:
    length = 0
    for text, is_last in _cut_long(blocks(), block):
        length += len(text)
        if is_last:
            yield length
            length = 0


def _cut_long(blocks: Iterable[str], block: int) -> Iterator[tuple[str, bool]]:
    """Yield (text, whether a document ends with it); no text is longer than `block` characters."""
    pending, after_separator, is_piece = "", False, False
    for text, at_separator, at_end in _split_at_separators(blocks):
        pending += text
        if after_separator and not is_piece:
            pending = pending.lstrip(NEWLINES)
        if at_separator or (at_end and after_separator):
            pending = pending.rstrip(NEWLINES)
        # A separator may still follow newlines at the end, so they do not count, up to a limit.
        ends = at_separator or at_end
        while len(pending if ends else pending.rstrip(NEWLINES)) > block or len(pending) > 4 * block:
            cut = _good_cut(pending, block)
            yield pending[:cut], False
            pending, is_piece = pending[cut:], True
        if ends:
            if pending or is_piece:
                yield pending, True
            pending, after_separator, is_piece = "", True, False


def _split_at_separators(blocks: Iterable[str]) -> Iterator[tuple[str, bool, bool]]:
    """Yield (text, whether a separator follows, whether the file ends here), in parts as they arrive."""
    carried = ""
    for block in blocks:
        *complete, rest = (carried + block).split(SEPARATOR)
        for text in complete:
            yield text, True, False
        keep = len(rest) - _begun_separator(rest)
        yield rest[:keep], False, False
        carried = rest[keep:]
    yield carried, False, True


def _begun_separator(text: str) -> int:
    """Return how many characters at the end of `text` could be the start of a separator."""
    return next((n for n in range(len(SEPARATOR) - 1, 0, -1) if text.endswith(SEPARATOR[:n])), 0)


def _good_cut(text: str, block: int) -> int:
    """Return where to cut a text longer than `block`: before a line end, else a space, else anywhere."""
    for mark in ("\n", " "):
        found = text.rfind(mark, block // 2, block)
        if found > 0 and (cut := len(text[:found].rstrip(NEWLINES))) > 0:
            return cut
    return block
