"""Prevents text that people wrote from becoming a control token in a chat template.

A message may contain `<|im_end|>` as text. Before rendering, each such name is replaced by a single character that
does not occur in the conversation. So all names in the rendered text come from the template, whatever it does to the
messages (trim, split, join). Afterwards the characters become the names again, as text. A conversation without such
names passes through unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from glassgpt.chat.messages import Message
from glassgpt.tokenizers.controls import Piece, finder, split_at


@dataclass(frozen=True)
class Controls:
    """The names of control tokens, and the patterns that find them in a text."""

    finder: re.Pattern[str] | None
    ends: re.Pattern[str] | None
    """Finds the characters with which a name begins or ends."""

    @classmethod
    def of(cls, names: Sequence[str]) -> Controls:
        """Return the controls of some names."""
        return cls(finder(names), finder({char for name in names for char in name[:1] + name[-1:]}))

    def found(self, text: str) -> list[str]:
        """Return the names in a text, in order."""
        return self.finder.findall(text) if self.finder else []

    def masked(self, messages: Sequence[Message]) -> list[Message] | None:
        """Return messages in which no name could begin or end, or None where no change is needed."""
        ends = self.ends
        if ends is None or not any(ends.search(message.content) for message in messages):
            return None
        mask = next(_unused(messages))
        return [replace(message, content=ends.sub(mask, message.content)) for message in messages]


class Disguise:
    """A conversation whose `messages` no longer contain names of control tokens, and how to restore the names."""

    def __init__(self, messages: Sequence[Message], controls: Controls) -> None:
        self._controls = controls
        named = dict.fromkeys(name for message in messages for name in controls.found(message.content))
        stand_ins = dict(zip(named, _unused(messages), strict=False)) if named else {}
        self._names = {stand_in: name for name, stand_in in stand_ins.items()}
        self.messages = list(messages)
        if controls.finder and stand_ins:
            find = controls.finder
            self.messages = [
                replace(message, content=find.sub(lambda match: stand_ins[match.group()], message.content))
                for message in messages
            ]

    def lifted(self, text: str) -> list[Piece]:
        """Return the pieces of rendered text: the template's control tokens, and plain text with the names restored."""
        names = str.maketrans(self._names)
        return [
            (piece if special else piece.translate(names), special)
            for piece, special in split_at(text, self._controls.finder)
        ]


def _unused(messages: Sequence[Message]) -> Iterator[str]:
    """Yield private-use characters that occur in none of the messages."""
    used = set().union(*(message.content for message in messages))
    return (char for char in map(chr, range(0x10FFFD, 0xF0000, -1)) if char not in used)
