"""Keeping what people wrote from becoming a control token on its way through a chat template.

A message may hold `<|im_end|>` as text. Before the template sees it, each such name is replaced by a single
character that stands nowhere in the conversation. So all names in what the template writes are its own, whatever
it does to the messages in between (trim, split, join), and afterwards the characters become the names again, as text.
A conversation without such names passes through as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from glassgpt.chat.messages import Message
from glassgpt.tokenizers.controls import Piece, finder, split_at


@dataclass(frozen=True)
class Controls:
    """The names of control tokens, and what finds them in a text."""

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
        """Return messages in which no name could begin or end, or None where that is so of these already."""
        ends = self.ends
        if ends is None or not any(ends.search(message.content) for message in messages):
            return None
        mask = next(_unused(messages))
        return [replace(message, content=ends.sub(mask, message.content)) for message in messages]


class Disguise:
    """A conversation whose `messages` hold no control token's name any more, and how to get the names back."""

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
        """Return the pieces of what a template wrote: its control tokens, and plain text with the names in it."""
        names = str.maketrans(self._names)
        return [
            (piece if special else piece.translate(names), special)
            for piece, special in split_at(text, self._controls.finder)
        ]


def _unused(messages: Sequence[Message]) -> Iterator[str]:
    """Yield characters for private use that stand in none of the messages."""
    used = set().union(*(message.content for message in messages))
    return (char for char in map(chr, range(0x10FFFD, 0xF0000, -1)) if char not in used)
