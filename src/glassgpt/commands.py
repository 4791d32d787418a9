"""Command lines for messages, so that each one that is printed works when it is pasted into a shell."""

from __future__ import annotations

import re
import shlex


def command(*words: object, **options: object) -> str:
    """Return `glassgpt` with words and options, quoted for a shell: command("resume", run), command("plan", minutes=5).

    A word may come from a user: with spaces, quotes, line ends, or a dash in front, which a path loses by `./`.
    An option's underscores are written as dashes; one with a dot in it is passed as **{"model.n-layer": 2}.
    """
    parts = ["glassgpt"]
    parts += [quoted(f"./{word}" if str(word).startswith("-") else str(word)) for word in words]
    for name, value in options.items():
        option, text = f"--{name.replace('_', '-')}", str(value)
        parts.append(f"{option}={quoted(text)}" if text.startswith("-") else f"{option} {quoted(text)}")
    return " ".join(parts)


def quoted(word: str) -> str:
    """Return a word as a shell reads it back; what cannot be printed is written as bash and zsh know it, $'\\n'."""
    if re.fullmatch(r"[\w .,:;?()'/+=@%-]* [\w .,:;?()'/+=@%-]*", word):
        return f'"{word}"'  # words of a sentence look better so
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(_escaped(character) for character in word) + "'"


def _escaped(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 128 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
