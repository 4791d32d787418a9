"""Where each value of a JSON text ends, found in blocks as they arrive, without parsing.

Brackets and quotation marks are all that is looked at, by regular expressions at the speed of C. A value that is
kept may have a most number of characters; one that is passed over takes no memory, however long it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Complete strings and whatever else is no bracket; stops at a bracket, or at a string that is not complete yet.
STEP = re.compile(r'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+', re.DOTALL)
INSIDE = re.compile(r"[^\"\\]*+(?:\\.[^\"\\]*+)*+", re.DOTALL)  # a string up to its closing quotation mark
SPACE = re.compile(r"[ \t\r\n]*+")
SCALAR = re.compile(r'[^\[\]{}",: \t\r\n]*+')  # a number, true, false or null
CHANGE = {"[": 1, "{": 1, "]": -1, "}": -1}


class Malformed(Exception):
    """The text is no JSON; the message says why."""


class TooLarge(Exception):
    """A value that should be kept has more characters than it may."""


class JsonScanner:
    """A place in a JSON text, and what can be done from there."""

    def __init__(self, blocks: Iterator[str], most: int) -> None:
        self._blocks, self._most = blocks, most
        self._text, self._at = "", 0
        self._kept: list[str] | None = None  # of a value that is kept, what earlier blocks had of it
        self._size = self._start = 0

    def peek(self) -> str:
        """Return the next character that is no white space, or "" at the end."""
        while True:
            self._at = _end(SPACE, self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._refill():
                return ""

    def take(self, expected: str) -> str:
        """Pass over the next character and return it: one of `expected`. Raises `Malformed` on any other."""
        found = self.peek()
        if not found:
            raise Malformed("it ends too early")
        if found not in expected:
            raise Malformed(f"{found!r} stands where {' or '.join(expected)} should")
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
        """Pass over the next value."""
        found = self.peek()
        if found and found in "[{":
            self._at += 1
            self.close(1)
        elif found == '"':
            self._string()
        else:
            self._scalar()

    def close(self, depth: int = 1) -> None:
        """Pass over everything up to where so many brackets that are open now are closed."""
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
            self._need_more()  # what is left is nothing, or a backslash without what follows it

    def _scalar(self) -> None:
        before = self._at
        self._at = _end(SCALAR, self._text, self._at)
        if self._at == before:
            found = self.peek()
            raise Malformed(f"{found!r} stands where a value should" if found else "it ends too early")
        while self._at == len(self._text) and self._refill():
            self._at = _end(SCALAR, self._text, self._at)

    def _need_more(self) -> None:
        if not self._refill():
            raise Malformed("it ends too early")

    def _refill(self) -> bool:
        """Put the next block after what is not passed yet. Returns False at the end of the text."""
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
    """Return whether more than `most` lists and objects of a JSON text are inside each other."""
    depth, at = 0, _end(STEP, text, 0)
    while at < len(text):
        depth += CHANGE.get(text[at], 0)
        if depth > most:
            return True
        at = _end(STEP, text, at + 1)
    return False


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    assert found is not None  # each of the patterns matches the empty text, too
    return found.end()
