"""The tokenizer that the rest of the project uses: any `tokenizer.json`, with the fastest engine for it.

For any kind of vocabulary from any source, it encodes, decodes, gives the bytes of an id, and computes a
fingerprint by which data and models recognise their vocabulary.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassgpt.errors import TokenizerError
from glassgpt.files import git_lfs_pointer, write_text
from glassgpt.tokenizers import document
from glassgpt.tokenizers.checking import encoding, library, reading, refuse_impossible
from glassgpt.tokenizers.controls import Piece, RenamedEncoder, can_be_split, finder, joined, split_at
from glassgpt.tokenizers.engines import CharEncoder, Encoder, RustEncoder, TiktokenEncoder, ranks_for_tiktoken
from glassgpt.tokenizers.layout import CUT_WORDS
from glassgpt.tokenizers.patterns import Pattern, recognise, safe_parts
from glassgpt.tokenizers.special import END_OF_TEXT_NAMES, find_end_of_text, without_surrogates


class FastTokenizer:
    """A vocabulary read from the text of a `tokenizer.json`; make one with `from_file` or `from_json`.

    `kind` is "char", "word", "bpe" (byte-level), "wordpiece" or "other". `vocab_size` is the highest id
    plus one. `unknown_id` is the id for text that is not in the vocabulary, or None.
    `lossless` says that decoding gives back the text: any text for "bpe", a text of known characters for
    "char". `joins_bytes` says that decoding only joins the tokens' bytes.
    `fingerprint` changes if and only if the ids of a text could change. `pattern` is how a byte-level BPE
    cuts text, or None if the pattern is not known here. `special_names` are the names of the special tokens.
    `json` is the whole `tokenizer.json`.
    """

    kind: str
    vocab_size: int
    end_of_text: int
    unknown_id: int | None
    lossless: bool
    joins_bytes: bool
    fingerprint: str
    pattern: Pattern | None
    special_names: tuple[str, ...]
    json: str

    def __init__(self, text: str) -> None:
        self._rust = RustEncoder(text)
        self.json = self._rust.tokenizer.to_str()
        content = json.loads(self.json)
        self.fingerprint = document.fingerprint(content)
        self.kind = document.kind(content)
        self.lossless = document.lossless(content)
        self.joins_bytes = document.joins_bytes(content)
        self.pattern = recognise(content["pre_tokenizer"]) if self.kind == "bpe" else None
        self._ids = self._rust.tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = max(self._ids.values(), default=-1) + 1
        self._special = {token["id"] for token in content["added_tokens"] if token["special"]}
        self._added = {token["id"]: token["content"] for token in content["added_tokens"]}
        self.special_names = tuple(self._added[id] for id in sorted(self._special) if self._added[id])
        self.end_of_text = self._find_end_of_text()
        self.unknown_id = self._ids.get(content["model"].get("unk_token") or "")
        self._encoder = self._choose_encoder(content)
        cut_alike = self._encoder is not self._rust or content["pre_tokenizer"] == CUT_WORDS
        self._splits = cut_alike and can_be_split(content)
        self._find_special = finder(self.special_names)
        self._renamed: dict[frozenset[str], RenamedEncoder] = {}

    @classmethod
    def from_json(cls, text: str) -> FastTokenizer:
        """Read the text of a `tokenizer.json`. Raises `TokenizerError` when it is not one."""
        refuse_impossible(text)
        with reading():
            return cls(text)

    @classmethod
    def from_file(cls, path: Path) -> FastTokenizer:
        """Read a `tokenizer.json`. Raises `TokenizerError` naming the file when it cannot be used."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise TokenizerError(f"The tokenizer {path} cannot be read: {error.strerror}.") from error
        except (TokenizerError, UnicodeDecodeError) as error:
            raise TokenizerError(git_lfs_pointer(path) or f"{path}: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return FastTokenizer.from_json, (self.json,)

    def __repr__(self) -> str:
        return f"<FastTokenizer {self.kind}, {self.vocab_size} ids, {self.fingerprint[:12]}>"

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Return the ids of `text` alone. With `allow_special` the name of a special token becomes its id."""
        text = without_surrogates(text)
        if not allow_special:
            return self._encoder.encode(text)
        if self._splits:
            return self._encode_between(list(split_at(text, self._find_special)))
        return self._with_special.encode(text)

    def encode_parts(
        self, incoming: Iterable[str], *, allow_special: bool = False
    ) -> Iterator[tuple[str, list[int]]]:
        """Yield the parts of a text that arrives in pieces, each with its ids. All ids joined are those of the text.

        A part is about as long as an incoming piece, so memory does not grow with the text. The exceptions are
        vocabularies for which no safe place to cut is known, and a text without a space.
        """
        names_have_spaces = allow_special and any(re.search(r"\s", name) for name in self.special_names)
        if isinstance(self._encoder, CharEncoder) and not allow_special:
            parts = iter(incoming)
        elif self._splits and not names_have_spaces:
            parts = safe_parts(incoming)
        else:
            parts = iter(["".join(incoming)])
        for text in parts:
            yield text, self.encode(text, allow_special=allow_special)

    def encode_iterable(self, texts: Iterable[str], *, allow_special: bool = False) -> Iterator[int]:
        """Yield the ids of a text that arrives in pieces, such as the lines of an open file, in constant memory."""
        for _, ids in self.encode_parts(texts, allow_special=allow_special):
            yield from ids

    def encode_pieces(self, pieces: Sequence[Piece]) -> list[int]:
        """Return the ids of a text whose pieces are either plain text or the name of a special token.

        The ids are those of `encode` with `allow_special`, except that a special token's name in a plain piece is
        plain text. Raises `TokenizerError` for a name that is not a token of the vocabulary.
        """
        names = {text for text, special in pieces if special}
        if unknown := [name for name in sorted(names) if self._ids.get(name) not in self._added]:
            raise TokenizerError(f"The vocabulary has no special token {unknown[0]!r}.")
        pieces = joined(pieces)
        if self._splits:
            return self._encode_between(pieces)
        ids = self._renamed_encoder(frozenset({*self.special_names, *names})).encode(pieces)
        return self._encode_between(pieces) if ids is None else ids

    def _encode_between(self, pieces: Sequence[Piece]) -> list[int]:
        plain = iter(self._encoder.encode_batch([text for text, special in pieces if not special]))
        ids: list[int] = []
        for text, special in pieces:
            if special:
                ids.append(self._ids[text])
            else:
                ids += next(plain)
        return ids

    def _renamed_encoder(self, names: frozenset[str]) -> RenamedEncoder:
        if names not in self._renamed:
            self._renamed[names] = RenamedEncoder(json.loads(self.json), names)
        return self._renamed[names]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, using all cores. Special tokens in the texts are plain text."""
        return self._encoder.encode_batch([without_surrogates(text) for text in texts])

    def encode_arrays(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of `encode_batch` as arrays of unsigned integers, which avoids making lists."""
        return self._encoder.encode_arrays([without_surrogates(text) for text in texts])

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of `ids`. Raises `TokenizerError` for an id outside the vocabulary."""
        if self.joins_bytes:
            return self.decode_bytes(ids, skip_special=skip_special).decode("utf-8", "replace")
        ids = [int(id) for id in ids]
        self._check(ids)
        with library("This vocabulary cannot decode the ids"):
            return self._rust.tokenizer.decode(ids, skip_special_tokens=skip_special)

    def decode_bytes(self, ids: Sequence[int], *, skip_special: bool = True) -> bytes:
        """Return the joined bytes of `ids`: with `joins_bytes`, the UTF-8 of the text or a part of it."""
        ids = [int(id) for id in ids]
        self._check(ids)
        skipped = self._special if skip_special else ()
        return b"".join([self._shown[id] for id in ids if id not in skipped])

    def token_bytes(self, id: int) -> bytes:
        """Return the UTF-8 bytes of `id` within a text; none for special and unknown tokens.

        Exact for a lossless kind. For words the space before a word counts as part of it.
        """
        self._check([id])
        return b"" if id in self._special or id == self.unknown_id else self._shown[id]

    def byte_lengths(self) -> np.ndarray:
        """Return int64 `(vocab_size,)`: the number of bytes of each id, to compute bits per byte."""
        return self._byte_lengths.copy()

    def begin_ids(self) -> list[int]:
        """Return the special ids that programs made for the vocabulary put before every text (often none)."""
        with encoding():
            encoded = self._rust.tokenizer.encode("a", add_special_tokens=True)
        pairs = zip(encoded.ids, encoded.special_tokens_mask, strict=True)
        return [id for id, _ in itertools.takewhile(lambda pair: pair[1], pairs)]

    def is_special(self, id: int) -> bool:
        """Return whether `id` is a special token, which decoding leaves out."""
        return id in self._special

    def unknown(self, text: str) -> list[str]:
        """Return the parts of `text` that are not in the vocabulary, in order, each once."""
        if self.unknown_id is None:
            return []
        text = without_surrogates(text)
        if isinstance(self._encoder, CharEncoder):
            return [char for char in dict.fromkeys(text) if char not in self._encoder.ids]
        with encoding():
            encoded = self._rust.tokenizer.encode(text, add_special_tokens=False)
        pairs = zip(encoded.ids, encoded.offsets, strict=True)
        return list(dict.fromkeys(text[start:end] for id, (start, end) in pairs if id == self.unknown_id))

    def to_json(self) -> str:
        """Return the vocabulary as a `tokenizer.json`."""
        return self.json

    def save(self, path: Path) -> None:
        """Write the `tokenizer.json` atomically."""
        write_text(path, self.json + "\n")

    def _choose_encoder(self, content: dict[str, Any]) -> Encoder:
        if self.kind == "char" and self.unknown_id is not None and self._special == set(self._added):
            chars = {char: id for char, id in content["model"]["vocab"].items() if id != self.unknown_id}
            return CharEncoder(chars, self.unknown_id)
        ranks = ranks_for_tiktoken(content, self._rust) if self.pattern else None
        return TiktokenEncoder(ranks, self.pattern, self._rust) if ranks and self.pattern else self._rust

    @functools.cached_property
    def _with_special(self) -> RustEncoder:
        return RustEncoder(self.json, special=True)

    @functools.cached_property
    def _byte_lengths(self) -> np.ndarray:
        """Computed once: every evaluation needs it, and a vocabulary may have 200,000 ids."""
        return np.array([len(self.token_bytes(id)) for id in range(self.vocab_size)], dtype=np.int64)

    @functools.cached_property
    def _shown(self) -> list[bytes]:
        """The bytes that decoding gives for each id in the middle of a text."""
        shown = [b""] * self.vocab_size
        for token, id in self._ids.items():
            shown[id] = (
                self._added[id].encode() if id in self._added else document.spelled_bytes(token, self.kind)
            )
        return shown

    def _find_end_of_text(self) -> int:
        id = find_end_of_text(self._ids, (self._added[id] for id in sorted(self._special)))
        if id is None:
            raise TokenizerError(
                "This tokenizer.json has no token for the end of a text, which a model needs. "
                f"Add one of these as a special token: {', '.join(END_OF_TEXT_NAMES)}."
            )
        return id

    def _check(self, ids: Sequence[int]) -> None:
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            wrong = next(id for id in ids if not 0 <= id < self.vocab_size)
            raise TokenizerError(
                f"There is no token {wrong}: this vocabulary has the ids 0 to {self.vocab_size - 1}. "
                "Ids are valid only in the vocabulary that made them."
            )
