"""Reading `.zst` files strictly: a file that was cut short is an error, never a shorter text.

The `zstandard` library's stream readers end without an error where the bytes end. This one also checks that
the last frame is complete, reads all frames of a file, and limits how much one read can unpack.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any, cast

from glassgpt.errors import require

# A zstd block of 128 KiB can be packed into 4 bytes: this much input unpacks to at most 8 MiB.
FEED = 256


def library():
    """Return the `zstandard` module, or raise `MissingExtraError`."""
    return require("zstandard", extra="data", purpose="read .zst files")


def open_zst(path: Path) -> IO[bytes]:
    """Open a `.zst` file for reading. Reading raises `ZstdError` or `EOFError` when it is damaged."""
    return cast(IO[bytes], io.BufferedReader(_Reader(path)))


class _Reader(io.RawIOBase):
    def __init__(self, path: Path):
        self._unpacker = library().ZstdDecompressor()
        self._file = path.open("rb")
        self._frame: Any = None
        self._packed = self._text = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._text:
            if not self._unpack():
                return 0
        size = min(len(buffer), len(self._text))
        buffer[:size], self._text = self._text[:size], self._text[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _unpack(self) -> bool:
        """Unpack a little more into `_text`; return False at the end of the file."""
        packed = self._packed or self._file.read(FEED)
        if not packed:
            if self._frame is not None:
                raise EOFError("it ends in the middle of a frame")
            return False
        self._frame = self._frame or self._unpacker.decompressobj()
        self._text = self._frame.decompress(packed)
        self._packed = b""
        if self._frame.eof:
            self._packed, self._frame = self._frame.unused_data, None
        return True
