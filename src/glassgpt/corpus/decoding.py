"""From the bytes of a file to its text, one block at a time, or an error that says what is wrong.

Text is UTF-8, or UTF-16 or UTF-32 that begins with a byte order mark; `.gz` and `.zst` are unpacked. The
text is kept exactly: only the mark is dropped, and line ends stay as they are. Nothing is guessed: bytes
that are not UTF-8 could be in any of dozens of encodings, and a wrong guess would train a model on garbage.
So an error gives the position of the first such byte.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from glassgpt import files
from glassgpt.commands import quoted
from glassgpt.corpus import zstd
from glassgpt.errors import CorpusError

CHUNK = 1 << 18  # bytes read at a time
COMPRESSIONS = (".gz", ".zst")

LINE = re.compile(r"[^\r\n]*+(?:\r\n|\r|\n)|[^\r\n]++")

# UTF-32's mark begins with UTF-16's, so it is checked first.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def text_blocks(path: Path) -> Iterator[str]:
    """Yield a file's text in blocks of at most `CHUNK` characters; joined they are the whole text.

    Raises `CorpusError` when the file cannot be opened, unpacked or decoded, or is not text.
    """
    with open_bytes(path) as file:
        chunk = file.read(CHUNK)
        mark, encoding = detect_encoding(chunk)
        decoder = codecs.getincrementaldecoder(encoding)("strict")
        chunk, offset = chunk[len(mark) :], len(mark)
        while True:
            held = len(decoder.getstate()[0])  # bytes of a character that the last chunk cut in two
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise _undecodable(path, encoding, offset - held + error.start, error) from error
            if "\0" in text:
                raise _binary(path, chunk)
            if text:
                yield text
            if not chunk:
                return
            offset += len(chunk)
            chunk = file.read(CHUNK)


def whole_text(path: Path, *, longest: int) -> str:
    """Return the text of a file. Raises like `text_blocks`, and when it has more than `longest` characters."""
    blocks: list[str] = []
    size = 0
    for block in text_blocks(path):
        blocks.append(block)
        size += len(block)
        if size > longest:
            raise too_large(str(path), longest)
    return "".join(blocks)


def text_lines(path: Path, *, longest: int | None = None) -> Iterator[str]:
    """Yield a file's lines, each with its line end: "\\n", "\\r\\n" or, from old programs, "\\r".

    Each line is held in memory as a whole. Raises `CorpusError` when one has more than `longest` characters.
    """
    carried: list[str] = []
    size, number = 0, 1
    for line, is_whole in _line_parts(text_blocks(path)):
        size += len(line)
        if longest is not None and size > longest:
            raise too_large(f"{path}:{number}", longest)
        if not is_whole:
            carried.append(line)
            continue
        yield "".join(carried) + line if carried else line
        carried.clear()
        size, number = 0, number + 1
    if carried:
        yield "".join(carried)


def _line_parts(blocks: Iterator[str]) -> Iterator[tuple[str, bool]]:
    """Yield (line or part of one, whether the line ends with it). A "\\r" waits for the next character."""
    held = ""
    for block in blocks:
        block = held + block
        held = "\r" if block.endswith("\r") else ""
        block = block[: len(block) - len(held)]
        if "\r" in block:
            parts = LINE.findall(block)
        else:
            *whole, rest = block.split("\n")
            parts = [line + "\n" for line in whole] + ([rest] if rest else [])
        for part in parts:
            yield part, part[-1] in "\r\n"
    if held:
        yield held, True


def too_large(what: str, longest: int) -> CorpusError:
    """Return the error for a record that is too long."""
    return CorpusError(
        f"{what} has more than {longest:,} characters, the most that one record may have. To train on a text of "
        "that length, put it into a .txt file, which is read in parts."
    )


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacking `.gz` and `.zst`; turn failures into `CorpusError`."""
    broken: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
    if compression(path) == ".zst":
        broken = (*broken, zstd.library().ZstdError)
    try:
        if pointer := files.git_lfs_pointer(path):
            raise CorpusError(pointer)
        with _open(path) as file:
            yield file
    except broken as error:
        raise CorpusError(
            f"{path} cannot be unpacked: {error}. It may have been cut short; copy or download it again."
        ) from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror or error}.") from error


def compression(path: Path) -> str:
    """Return ".gz", ".zst", or "" for a file that is not compressed."""
    suffix = path.suffix.lower()
    return suffix if suffix in COMPRESSIONS else ""


def detect_encoding(head: bytes) -> tuple[bytes, str]:
    """Return the byte order mark at the beginning of a file (b"" if none) and its encoding."""
    return next(((mark, name) for mark, name in MARKS if head.startswith(mark)), (b"", "utf-8"))


def _open(path: Path) -> IO[bytes]:
    match compression(path):
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        case ".zst":
            return zstd.open_zst(path)
        case _:
            return path.open("rb")


def _undecodable(path: Path, encoding: str, position: int, error: UnicodeDecodeError) -> CorpusError:
    if b"\0" in error.object and encoding == "utf-8":
        return _binary(path, error.object)
    byte = error.object[error.start : error.start + 1].hex().upper()
    return CorpusError(
        f"{path} is not valid {encoding.upper()}: byte 0x{byte} at position {position} belongs to no "
        f"character. If you know its encoding, convert it first, for example from Windows-1252:  {_iconv(path)}"
    )


def _iconv(path: Path, encoding: str = "WINDOWS-1252") -> str:
    """Return a shell command that writes a UTF-8 copy of a text file beside it."""
    whole = path.absolute()
    plain = whole.with_suffix("") if compression(whole) else whole
    converted = quoted(str(plain.with_name(f"{plain.stem}.utf8{plain.suffix}")))
    unpack = {
        "": "",
        ".gz": f"gzip -dc {quoted(str(whole))} | ",
        ".zst": f"zstd -dc {quoted(str(whole))} | ",
    }
    source = "" if compression(whole) else f" {quoted(str(whole))}"
    return f"{unpack[compression(whole)]}iconv -f {encoding} -t UTF-8{source} > {converted}"


def _binary(path: Path, sample: bytes) -> CorpusError:
    encoding = _wide_encoding(sample[:4096])
    if encoding:
        return CorpusError(
            f"{path} looks like {encoding} without a byte order mark, and nothing is guessed. If it is, convert it "
            f"first:  {_iconv(path, encoding)}"
        )
    return CorpusError(
        f"{path} is not text: it holds NUL bytes, as programs, pictures and office files do. "
        "Leave it out, or save its text as a UTF-8 .txt file first."
    )


def _wide_encoding(sample: bytes) -> str | None:
    """Return the encoding with two or four bytes per character in which a sample is text, or None."""
    for encoding in ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(sample)
        except UnicodeDecodeError:
            continue
        legible = sum(char.isprintable() or char.isspace() for char in text)
        # In the wrong byte order, a space or a line end would be another character.
        if legible > 0.98 * len(text) and ("\n" in text or " " in text):
            return encoding
    return None
