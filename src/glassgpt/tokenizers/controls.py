"""Control tokens and plain text, kept apart during encoding.

A special token has a meaning only where a program wrote it. The same characters written by a person are plain
text. So a text with both is passed as pieces: `("<|im_end|>", True)` is the token with that name,
`("<|im_end|>", False)` the ten characters.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers.engines import RustEncoder
from glassgpt.tokenizers.special import without_surrogates

Piece = tuple[str, bool]
"""Some text, and whether it is the name of a special token to be encoded as its id."""

_FLAGS = ("lstrip", "rstrip", "single_word")


def finder(names: Collection[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds any of the names, the longest where several begin; None without names."""
    longest_first = sorted((name for name in names if name), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def split_at(text: str, found_by: re.Pattern[str] | None) -> Iterator[Piece]:
    """Yield the pieces of a text in which every name found is a special token. No piece is empty."""
    start = 0
    for match in found_by.finditer(text) if found_by else ():
        if start < match.start():
            yield text[start : match.start()], False
        yield match.group(), True
        start = match.end()
    if start < len(text):
        yield text[start:], False


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Return pieces with neighbouring plain ones joined, as valid Unicode: they are encoded as one text."""
    made: list[Piece] = []
    for special, group in groupby(pieces, key=lambda piece: piece[1]):
        if special:
            made += group
        else:
            made.append((without_surrogates("".join(text for text, _ in group)), False))
    return made


def can_be_split(content: dict[str, Any]) -> bool:
    """Return whether a text may be cut at special tokens and the parts between them encoded separately.

    It may not if a token absorbs the white space beside it or must be a separate word, if added tokens that are not
    special could overlap it, or if a normalizer could change the text.
    """
    added = content["added_tokens"]
    plain = all(token["special"] and not any(token[flag] for flag in _FLAGS) for token in added)
    return plain and not content["normalizer"]


class RenamedEncoder:
    """The library `tokenizers` with a vocabulary whose special tokens have random names that nobody can have typed.

    So the whole text is encoded at once, as the programs made for the vocabulary do, and the usual names are text.
    """

    def __init__(self, content: dict[str, Any], names: Collection[str]) -> None:
        key = secrets.token_hex(8)
        self.renamed = {name: f"c{key}n{index}c" for index, name in enumerate(sorted(names))}
        ids = {token["content"]: token["id"] for token in content["added_tokens"]}
        self.ids = {ids[name] for name in names}
        self.encoder = RustEncoder(json.dumps(self._rename(content)), special=True)
        for name, other in self.renamed.items():
            if self.encoder.tokenizer.token_to_id(other) != ids[name]:
                raise TokenizerError(
                    f"The special token {name!r} of this vocabulary cannot be distinguished from text."
                )

    def encode(self, pieces: Sequence[Piece]) -> list[int] | None:
        """Return the ids of a text, or None if the library did not find every special token."""
        text = "".join(self.renamed[text] if special else text for text, special in pieces)
        ids = self.encoder.encode(text)
        return ids if sum(id in self.ids for id in ids) == sum(special for _, special in pieces) else None

    def _rename(self, content: dict[str, Any]) -> dict[str, Any]:
        model = dict(content["model"])
        vocab = model["vocab"]
        if isinstance(vocab, dict):
            model["vocab"] = {self.renamed.get(token, token): id for token, id in vocab.items()}
        else:
            model["vocab"] = [[self.renamed.get(token, token), score] for token, score in vocab]
        if isinstance(model.get("unk_token"), str):
            model["unk_token"] = self.renamed.get(model["unk_token"], model["unk_token"])
        added = [self._added(token) for token in content["added_tokens"]]
        return content | {"model": model, "added_tokens": added, "post_processor": None}

    def _added(self, token: dict[str, Any]) -> dict[str, Any]:
        if token["content"] not in self.renamed:
            return token
        found_as_written = {"single_word": False, "normalized": False, "special": True}
        return token | found_as_written | {"content": self.renamed[token["content"]]}
