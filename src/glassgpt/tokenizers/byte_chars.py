"""A visible character for each byte, as GPT-2 chose them.

`tokenizer.json` holds tokens as text, but a byte-level token may be half a character. So each of the 256
bytes is written as one printable character: the printable Latin-1 characters stay as they are, the other 68
are moved to U+0100 and up (a space becomes Ġ, a line end Ċ). Sorted by these characters, the bytes get the
ids 0 to 255, in GPT-2's vocabulary and in every vocabulary trained here.
"""

from __future__ import annotations


def _byte_chars() -> dict[int, str]:
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    moved = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    return table | {byte: chr(256 + index) for index, byte in enumerate(moved)}


CHAR_OF_BYTE = _byte_chars()
BYTE_OF_CHAR = {char: byte for byte, char in CHAR_OF_BYTE.items()}
BYTE_ORDER = [BYTE_OF_CHAR[char] for char in sorted(BYTE_OF_CHAR)]
"""The byte that each of the ids 0 to 255 stands for."""


def to_chars(token: bytes) -> str:
    """Return bytes as GPT-2 writes them: `b" a"` as `"Ġa"`."""
    return "".join(CHAR_OF_BYTE[byte] for byte in token)


def to_bytes(token: str) -> bytes:
    """Return the bytes that `to_chars` wrote. Raises `KeyError` for a character it never writes."""
    return bytes(BYTE_OF_CHAR[char] for char in token)
