"""Special tokens: the end of a document, and text that is not in a vocabulary.

A special token is a name for an id, such as `<|endoftext|>`. The same characters typed by a user are plain
text, and become the special id only if the caller allows it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import regex

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unk|>"

# Names for the end of a text in other vocabularies, the likeliest first; and the letters of rarer spellings.
END_OF_TEXT_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "<|eot_id|>", "[SEP]")
_END_OF_TEXT_LETTERS = {"endoftext", "endofsentence", "endofdocument", "eos", "eot"}


def find_end_of_text(ids: Mapping[str, int], special: Iterable[str]) -> int | None:
    """Return the id that ends a text in a vocabulary that maps tokens to `ids`, or None if none is found."""
    for name in END_OF_TEXT_NAMES:
        if name in ids:
            return ids[name]
    found = (name for name in special if regex.sub("[^a-z]", "", name.lower()) in _END_OF_TEXT_LETTERS)
    return next((ids[name] for name in found), None)


def unknown_line(lost: int, total: int, kind: str) -> str:
    """Return the sentence that says how much of a text is not in a vocabulary of this kind."""
    noun = {"char": "characters", "word": "words", "wordpiece": "words"}.get(kind, "tokens")
    return (
        f"{lost:,} of {total:,} {noun} ({lost / max(1, total):.2%}) are not in the vocabulary: each is {UNKNOWN} to a "
        "model."
    )


class WithSpecialTokens:
    """What the tokenizers that are written to be read share: ids for `tokens`, then for the `special` ones."""

    tokens: list[Any]
    special: Mapping[str, int]

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return len(self.tokens) + len(self.special)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Return the ids of `text`. `<|endoftext|>` is recognised only with `allow_special`."""
        if not allow_special:
            return self.plain_ids(text)
        either = "|".join(regex.escape(name) for name in sorted(self.special, key=len, reverse=True))
        ids: list[int] = []
        for piece in regex.split(f"({either})", text):
            ids.extend([self.special[piece]] if piece in self.special else self.plain_ids(piece))
        return ids

    @abstractmethod
    def plain_ids(self, text: str) -> list[int]:
        """Return the ids of `text`, in which nothing is a special token."""


def without_surrogates(text: str) -> str:
    """Return `text` as valid Unicode: surrogate pairs joined, a lone surrogate replaced with U+FFFD.

    Such halves of characters come from broken JSON escapes; UTF-8 cannot encode them.
    """
    try:
        if not text.isascii():
            text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
