"""A document: the unit in which text is passed from a file to the tokenizer.

Most documents are whole: one story, one record, one page. A text longer than a block (a book in one
`.txt`) is passed as consecutive pieces instead, so that no stage holds all of it. A piece knows which
share of its document it is, in characters; joined, the pieces are the document.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """A text, or a piece of one: [begins, ends) is the piece's place, as shares between 0 and 1."""

    text: str
    source: str  # where it came from, for messages: "stories.jsonl:12" (line 12), "tales.txt#3" (the third)
    begins: float = 0.0
    ends: float = 1.0

    @property
    def is_whole(self) -> bool:
        """Whether this is a complete document, not a piece of one."""
        return self.begins <= 0.0 and self.ends >= 1.0

    @property
    def is_first_piece(self) -> bool:
        """Whether a document begins here; true of a whole one."""
        return self.begins <= 0.0

    @property
    def is_last_piece(self) -> bool:
        """Whether a document ends here; true of a whole one."""
        return self.ends >= 1.0
