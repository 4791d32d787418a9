"""Find where each value of a JSON text ends, in blocks as they arrive, without parsing.

Only brackets and quotation marks are looked at, with regular expressions at the speed of C. A value that is kept has a
limit of characters; a value that is skipped takes no memory, however long it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Complete strings and anything else that is not a bracket; stops at a bracket or at an incomplete string.
STEP = re.compile(r'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+', re.DOTALL)
INSIDE = re.compile(r"[^\"\\]*+(?:\\.[^\"\\]*+)*+", re.DOTALL)  # a string up to its closing quotation mark
SPACE = re.compile(r"[ \t\r\n]*+")
SCALAR = re.compile(r'[^\[\]{}",: \t\r\n]*+')  # a number, true, false or null
CHANGE = {"[": 1, "{": 1, "]": -1, "}": -1}


class Malformed(Exception):
    """The text is not JSON; the message says why."""


class TooLarge(Exception):
    """A value that should be kept has too many characters."""


class JsonScanner:
    """A position in a JSON text, with methods to move on from there."""

    def __init__(self, blocks: Iterator[str], most: int) -> None:
        self._blocks, self._most = blocks, most
        self._text, self._at = "", 0
        self._kept: list[str] | None = None  # parts of the kept value from earlier blocks
        self._size = self._start = 0

    def peek(self) -> str:
        """Return the next character that is not white space, or "" at the end."""
        while True:
            self._at = _end(SPACE, self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._refill():
                return ""

    def take(self, expected: str) -> str:
        """Consume the next character and return it: one of `expected`. Raises `Malformed` on any other."""
        found = self.peek()
        if not found:
            raise Malformed("it ends too early")
        if found not in expected:
            raise Malformed(f"it has {found!r} instead of {' or '.join(expected)}")
        self._at += 1
        return found

    def value(self) -> str:
        """Return the text of the next value. Raises `TooLarge` when it is longer than `most` characters."""
        self.peek()
        self._kept, self._start, self._size = [], self._at, 0
        self.skip()
        text = "".join(self._kept) + self._text[self._start : self._at]
        self._kept = None
        if len(text) > self._most:
            raise TooLarge
        return text

    def skip(self) -> None:
        """Skip the next value."""
        found = self.peek()
        if found and found in "[{":
            self._at += 1
            self.close(1)
        elif found == '"':
            self._string()
        else:
            self._scalar()

    def close(self, depth: int = 1) -> None:
        """Skip everything until this number of open brackets are closed."""
        while depth:
            self._at = _end(STEP, self._text, self._at)
            if self._at == len(self._text):
                self._need_more()
            elif self._text[self._at] == '"':
                self._string()
            else:
                depth += CHANGE[self._text[self._at]]
                self._at += 1

    def _string(self) -> None:
        self._at += 1
        while True:
            self._at = _end(INSIDE, self._text, self._at)
            if self._text[self._at : self._at + 1] == '"':
                self._at += 1
                return
            self._need_more()  # nothing is left, or a backslash without the character after it

    def _scalar(self) -> None:
        before = self._at
        self._at = _end(SCALAR, self._text, self._at)
        if self._at == before:
            found = self.peek()
            raise Malformed(f"it has {found!r} instead of a value" if found else "it ends too early")
        while self._at == len(self._text) and self._refill():
            self._at = _end(SCALAR, self._text, self._at)

    def _need_more(self) -> None:
        if not self._refill():
            raise Malformed("it ends too early")

    def _refill(self) -> bool:
        """Append the next block to the unread rest. Returns False at the end of the text."""
        block = next(self._blocks, None)
        if block is None:
            return False
        if self._kept is not None:
            self._kept.append(self._text[self._start : self._at])
            self._size += self._at - self._start
            if self._size > self._most:
                raise TooLarge
        self._text, self._at, self._start = self._text[self._at :] + block, 0, 0
        return True


def is_deeper(text: str, most: int) -> bool:
    """Return whether lists and objects of a JSON text are nested more than `most` deep."""
    depth, at = 0, _end(STEP, text, 0)
    while at < len(text):
        depth += CHANGE.get(text[at], 0)
        if depth > most:
            return True
        at = _end(STEP, text, at + 1)
    return False


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    assert found is not None  # every pattern also matches the empty text
    return found.end()
