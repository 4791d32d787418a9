"""Command lines for messages: every command that is printed works when it is pasted into a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable


def command(*words: object, **options: object) -> str:
    """Return `glassgpt` with words and options, quoted for a shell: command("resume", run), command("plan", minutes=5).

    A word may come from a user: it may hold spaces, quotes or line ends. A path that begins with a dash gets `./`
    in front. Underscores in an option become dashes; pass an option with a dot as **{"model.n-layer": 2}.
    """
    parts = ["glassgpt"]
    parts += [quoted(f"./{word}" if str(word).startswith("-") else str(word)) for word in words]
    for name, value in options.items():
        option, text = f"--{name.replace('_', '-')}", str(value)
        parts.append(f"{option}={quoted(text)}" if text.startswith("-") else f"{option} {quoted(text)}")
    return " ".join(parts)


def line_of(words: Iterable[str]) -> str:
    """Return the command line with these words and options, as they would be typed after `glassgpt`."""
    return " ".join(["glassgpt", *map(quoted, words)])


def quoted(word: str) -> str:
    """Quote a word for a shell; characters that cannot be printed are escaped as bash and zsh read them, $'\\n'."""
    if re.fullmatch(r"[\w .,:;?()'/+=@%-]* [\w .,:;?()'/+=@%-]*", word):
        return f'"{word}"'  # a sentence looks better in double quotes
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(_escaped(character) for character in word) + "'"


def _escaped(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 128 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
