"""What every tokenizer here can do, and the way from any of them to the fast form that generation uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers.fast import FastTokenizer


class Tokenizer(Protocol):
    """Text to ids and back. The kinds that are written to be read have it, and so has `FastTokenizer`."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        ...

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Return the ids of `text`. Names of special tokens are recognised only with `allow_special`."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without special tokens."""
        ...

    def to_json(self) -> str:
        """Return the vocabulary as a `tokenizer.json`."""
        ...


def as_fast(tokenizer: Tokenizer) -> FastTokenizer:
    """Return a tokenizer that gives the same ids and can do all that generation needs.

    Raises `TokenizerError` for an object of another library.
    """
    if isinstance(tokenizer, FastTokenizer):
        return tokenizer
    if not callable(getattr(tokenizer, "to_json", None)):
        raise TokenizerError(
            f"This is not a tokenizer of GlassGPT but {type(tokenizer).__name__}, from {type(tokenizer).__module__}. "
            "Open one with glassgpt.load_tokenizer: a tokenizer.json that the other library has saved, a folder "
            "with one, or gpt2."
        )
    return FastTokenizer.from_json(tokenizer.to_json())
