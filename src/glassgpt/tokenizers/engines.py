"""Encoders: the fastest engine that gives the same ids as the vocabulary's `tokenizer.json`.

- characters: a Python dictionary, which is faster here than any library;
- byte-level BPE: `tiktoken`, several times as fast as `tokenizers` with the same ids;
- everything else: `tokenizers`, which defines the format `tokenizer.json` and is also the fallback.

`tiktoken` merges any two neighbours whose union is a token, the lowest id first. `tokenizers` merges only
the listed pairs, in the listed order. `ranks_for_tiktoken` checks whether both give the same ids for a given
vocabulary; if not, `tokenizers` encodes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

from glassgpt.tokenizers.byte_chars import to_bytes
from glassgpt.tokenizers.checking import encoding
from glassgpt.tokenizers.patterns import Pattern, blocks, recognise

# tiktoken's regular expression overflows its stack on a million white-space characters in a row.
_BLANK_RUN = 65_536
_SHARE = 100_000  # characters that a thread encodes at a time
_MARK = "<|between texts|>"

Row = TypeVar("Row", list[int], np.ndarray)


class Encoder(Protocol):
    """Turns texts into ids; special tokens in a text are plain text."""

    def encode(self, text: str) -> list[int]: ...  # noqa: D102
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...  # noqa: D102
    def encode_arrays(self, texts: Sequence[str]) -> list[np.ndarray]: ...  # noqa: D102


class RustEncoder:
    """The library `tokenizers` with a whole `tokenizer.json`. With `special` it recognises special tokens."""

    def __init__(self, text: str, *, special: bool = False) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(text)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = not special

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text, without adding any."""
        with encoding():
            return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, using all processor cores."""
        with encoding():
            encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoded.ids for encoded in encodings]

    def encode_arrays(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text as an array."""
        return [np.array(ids, np.uint32) for ids in self.encode_batch(texts)]


class TiktokenEncoder:
    """The library `tiktoken` with the ranks of a byte-level BPE, using all cores.

    Long texts are cut where the pattern cuts anyway, and short ones are grouped, into shares of about the same
    size. One thread encodes a share at a time: a single short text would be too small a task for a thread.

    `tokenizers` encodes the texts that tiktoken cannot encode.
    """

    def __init__(self, ranks: dict[bytes, int], pattern: Pattern, fallback: RustEncoder) -> None:
        import tiktoken

        self.mark = max(ranks.values()) + 1
        self.encoding = tiktoken.Encoding(
            name=pattern.name, pat_str=pattern.text, mergeable_ranks=ranks, special_tokens={_MARK: self.mark}
        )
        self.fallback = fallback
        self.threads = os.cpu_count() or 1
        self.dtype = np.dtype(np.uint16 if self.mark <= 2**16 else np.uint32)

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text. The cores share a long one."""
        if len(text) < _SHARE:
            return self._encode_plainly(text)
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, using all cores."""
        rows = self._spread(texts, self._encode_each)
        return [some[0] if len(some) == 1 else list(chain.from_iterable(some)) for some in rows]

    def encode_arrays(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text as an array, using all cores and hardly ever holding Python's lock."""
        rows = self._spread(texts, self._encode_at_once)
        return [some[0] if len(some) == 1 else np.concatenate(some) for some in rows]

    def _spread(self, texts: Sequence[str], encode: Callable[[list[str]], list[Row]]) -> Iterator[list[Row]]:
        """Yield the rows of each text's parts, encoded in shares by all threads."""
        parts = [list(blocks(text, _SHARE)) for text in texts]
        shares = _shares([part for some in parts for part in some])
        if len(shares) == 1:
            rows = iter(encode(shares[0]))
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                rows = chain.from_iterable(pool.map(encode, shares))
        return ([next(rows) for _ in some] for some in parts)

    def _encode_each(self, texts: list[str]) -> list[list[int]]:
        return [self._encode_plainly(text) for text in texts]

    def _encode_at_once(self, texts: list[str]) -> list[np.ndarray]:
        """Encode texts with one call of tiktoken, a mark between them, so that Python's lock is free."""
        if not texts or any(_MARK in text or has_blank_run(text) for text in texts):
            return [np.array(self._encode_plainly(text), self.dtype) for text in texts]
        marked = "".join(text + _MARK for text in texts)
        ids = self.encoding.encode_to_numpy(marked, allowed_special={_MARK}, disallowed_special=())
        ends = np.flatnonzero(ids == self.mark)
        starts = [0, *(ends[:-1] + 1)]
        ids = ids.astype(self.dtype)
        return [ids[start:end] for start, end in zip(starts, ends, strict=True)]

    def _encode_plainly(self, text: str) -> list[int]:
        if len(text) >= _BLANK_RUN and has_blank_run(text):
            return self.fallback.encode(text)
        return self.encoding.encode_ordinary(text)


class CharEncoder:
    """A dictionary from characters to ids."""

    def __init__(self, ids: dict[str, int], unknown: int) -> None:
        self.ids, self.unknown = ids, unknown

    def encode(self, text: str) -> list[int]:
        """Return one id per character."""
        get, unknown = self.ids.get, self.unknown
        return [get(char, unknown) for char in text]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.encode(text) for text in texts]

    def encode_arrays(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text as an array."""
        return [np.array(ids, np.uint32) for ids in self.encode_batch(texts)]


def _shares(parts: list[str]) -> list[list[str]]:
    """Group consecutive parts into shares of about `_SHARE` characters."""
    shares: list[list[str]] = [[]]
    characters = 0
    for part in parts:
        if characters >= _SHARE:
            shares.append([])
            characters = 0
        shares[-1].append(part)
        characters += len(part) + 1
    return shares


def has_blank_run(text: str) -> bool:
    """Return whether `text` may hold a giant run of white space. Never misses one of twice `_BLANK_RUN`."""
    ends = range(_BLANK_RUN, len(text) + 1, _BLANK_RUN)
    return any(text[end - _BLANK_RUN : end].isspace() for end in ends)


def ranks_for_tiktoken(document: dict[str, Any], rust: RustEncoder) -> dict[bytes, int] | None:
    """Return the bytes and ids of a `tokenizer.json`'s BPE, or None if `tiktoken` could give other ids.

    Both engines give the same ids under three conditions: only a known pattern is applied before the model,
    the merges are listed by rising id, and `tokenizers` never leaves two neighbours apart whose union is a
    token. The last is tested on every token: two tokens become neighbours in a text exactly as they do in the
    bytes of their union alone. `rust` was made from `document`, the parsed file.
    """
    model = document["model"]
    names = {token["content"] for token in document["added_tokens"]}
    plain = not any(model.get(key) for key in ("dropout", "unk_token", "continuing_subword_prefix"))
    plain = plain and not any(model.get(key) for key in ("end_of_word_suffix", "byte_fallback"))
    only_special = all(token["special"] for token in document["added_tokens"])
    if not plain or not only_special or document["normalizer"] or not recognise(document["pre_tokenizer"]):
        return None
    try:
        ranks = {to_bytes(token): id for token, id in model["vocab"].items() if token not in names}
    except KeyError:
        return None
    if not all(bytes([byte]) in ranks for byte in range(256)) or not _merges_rise(model):
        return None
    return ranks if _merges_suffice(document, names, rust) else None


def _merges_rise(model: dict[str, Any]) -> bool:
    """Return whether each merge makes a token with a higher id than the merge before."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    made = [model["vocab"][left + right] for left, right in pairs]
    return all(one < next for one, next in pairwise(made))


def _merges_suffice(document: dict[str, Any], names: set[str], rust: RustEncoder) -> bool:
    """Return whether the merges turn each token's bytes into the token, and never into exactly two parts.

    Three parts or more are allowed if the file says that a whole piece is looked up before any merge.
    """
    model = document["model"]
    if model["ignore_merges"]:
        rust = RustEncoder(json.dumps(document | {"model": model | {"ignore_merges": False}}))
    merging = rust.tokenizer.model
    lengths = {len(merging.tokenize(token)) for token in model["vocab"] if token not in names}
    return 2 not in lengths and (lengths == {1} or model["ignore_merges"])
