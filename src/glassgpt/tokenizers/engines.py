"""Who encodes: the fastest engine that gives the same ids as the vocabulary's `tokenizer.json`.

- characters: a Python dictionary, quicker for them than any library;
- byte-level BPE: `tiktoken`, several times as fast as `tokenizers` with the same ids;
- the rest: `tokenizers`, whose format `tokenizer.json` is, so that it is also the fallback.

`tiktoken` merges any two neighbours whose union is a token, the lowest id first. `tokenizers` merges only
the listed pairs, in the listed order. `ranks_for_tiktoken` finds out whether that is the same for a given
vocabulary; where it is not, `tokenizers` encodes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any, Protocol

from glassgpt.tokenizers.byte_chars import to_bytes
from glassgpt.tokenizers.patterns import Pattern, recognise

# tiktoken's regular expression overflows its stack on a million white-space characters in a row.
_BLANK_RUN = 65_536


class Encoder(Protocol):
    """Turns texts into ids; special tokens in a text are plain text."""

    def encode(self, text: str) -> list[int]: ...  # noqa: D102
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...  # noqa: D102


class RustEncoder:
    """The library `tokenizers` on a whole `tokenizer.json`. With `special` it recognises special tokens."""

    def __init__(self, text: str, *, special: bool = False) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(text)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.tokenizer.encode_special_tokens = not special

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text, nothing added to it."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, over all processor cores."""
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


class TiktokenEncoder:
    """The library `tiktoken` on the ranks of a byte-level BPE, with `tokenizers` for what it cannot take."""

    def __init__(self, ranks: dict[bytes, int], pattern: Pattern, fallback: RustEncoder) -> None:
        import tiktoken

        self.encoding = tiktoken.Encoding(
            name=pattern.name, pat_str=pattern.text, mergeable_ranks=ranks, special_tokens={}
        )
        self.fallback = fallback
        self.threads = os.cpu_count() or 1

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text."""
        if has_blank_run(text):
            return self.fallback.encode(text)
        return self.encoding.encode_ordinary(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text: one share of the texts a core, as a task a text would cost more."""
        share = max(64, -(-len(texts) // self.threads))
        shares = [texts[start : start + share] for start in range(0, len(texts), share)]
        with ThreadPoolExecutor(self.threads) as pool:
            encoded = pool.map(lambda part: [self.encode(text) for text in part], shares)
            return list(chain.from_iterable(encoded))


class CharEncoder:
    """A dictionary from characters to ids."""

    def __init__(self, ids: dict[str, int], unknown: int) -> None:
        self.ids, self.unknown = ids, unknown

    def encode(self, text: str) -> list[int]:
        """Return one id a character."""
        get, unknown = self.ids.get, self.unknown
        return [get(char, unknown) for char in text]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.encode(text) for text in texts]


def has_blank_run(text: str) -> bool:
    """Say whether `text` may hold a giant run of white space. Never misses one of twice `_BLANK_RUN`."""
    ends = range(_BLANK_RUN, len(text) + 1, _BLANK_RUN)
    return any(text[end - _BLANK_RUN : end].isspace() for end in ends)


def ranks_for_tiktoken(document: dict[str, Any], rust: RustEncoder) -> dict[bytes, int] | None:
    """Return the bytes and ids of a `tokenizer.json`'s BPE, or None where `tiktoken` could differ.

    Both engines give the same ids when nothing but a known pattern stands before the model, the merges are
    listed by rising id, and no token can lie as two neighbours that `tokenizers` would leave apart. The
    last is tried on every token: two tokens become neighbours in a text exactly as they do in the bytes of
    their union alone. `document` is the parsed file that `rust` was made of.
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
    """Say whether each merge makes a token of a higher id than the merge before."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    made = [model["vocab"][left + right] for left, right in pairs]
    return all(one < next for one, next in pairwise(made))


def _merges_suffice(document: dict[str, Any], names: set[str], rust: RustEncoder) -> bool:
    """Say whether the merges turn each token's own bytes into it, and never into just two parts.

    Three parts or more are well when the file says that a whole piece is looked up before any merge.
    """
    model = document["model"]
    if model["ignore_merges"]:
        rust = RustEncoder(json.dumps(document | {"model": model | {"ignore_merges": False}}))
    merging = rust.tokenizer.model
    lengths = {len(merging.tokenize(token)) for token in model["vocab"] if token not in names}
    return 2 not in lengths and (lengths == {1} or model["ignore_merges"])
