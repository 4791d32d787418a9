"""Token shards: the ids of a corpus on disk, as flat arrays that are mapped rather than loaded.

    <folder>/
      train-00000.bin  validation-00000.bin ...   little-endian uint16, or uint32 above 65,536 ids
      tokenizer.json                              the vocabulary the ids mean something in
      manifest.json                               written last: counts, hashes, sources, fingerprint

The documents of a split lie one after another, each closed by `<|endoftext|>`. A folder without a
manifest was never finished; `prepare.py` goes on from there. This module reads; it makes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glassgpt import files
from glassgpt.errors import DatasetError

SPLITS = ("train", "validation", "test")
COUNTED_AT_ONCE = 1 << 22


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the smallest unsigned type that holds every id below `vocab_size`."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


@dataclass(frozen=True)
class TokenSplit:
    """One split as a single long row of ids, whatever number of files it lies in."""

    name: str
    shards: tuple[np.ndarray, ...]
    starts: np.ndarray  # where each shard begins in the row; one more entry than there are shards
    text_bytes: int
    documents: int

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text a token stands for on average, `<|endoftext|>` counted as a token."""
        return self.text_bytes / max(1, len(self))

    def places_of(self, token: int) -> np.ndarray:
        """Return every place where `token` stands in the row: int64 (N,)."""
        found = [
            np.flatnonzero(shard == token) + start
            for shard, start in zip(self.shards, self.starts, strict=False)
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def counts(self, vocab_size: int) -> np.ndarray:
        """Return how often each id below `vocab_size` stands in the row: int64 (vocab_size,)."""
        counted = np.zeros(vocab_size, np.int64)
        for shard in self.shards:
            for start in range(0, len(shard), COUNTED_AT_ONCE):  # counting copies to 8 bytes an id
                counted += np.bincount(shard[start : start + COUNTED_AT_ONCE], minlength=vocab_size)
        return counted

    def read(self, start: int, length: int) -> np.ndarray:
        """Return ids [start, start + length) as int64, crossing from shard to shard where needed."""
        assert 0 <= start <= start + length <= len(self), (start, length, len(self))
        pieces = []
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        while length > 0:
            offset = start - int(self.starts[shard])
            piece = self.shards[shard][offset : offset + length]
            pieces.append(piece)
            start, length, shard = start + len(piece), length - len(piece), shard + 1
        return np.concatenate(pieces).astype(np.int64)


@dataclass(frozen=True)
class TokenShards:
    """A prepared folder, opened."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the tokenizer that made the ids."""
        return self.manifest["tokenizer"]

    @property
    def vocab_size(self) -> int:
        """The number of ids the tokenizer has."""
        return self.manifest["vocab_size"]

    def split(self, name: str) -> TokenSplit:
        """Map one split. Raises `DatasetError` when its files do not fit the manifest."""
        facts = self.manifest["splits"].get(name, {"shards": [], "bytes": 0, "documents": 0})
        dtype = np.dtype(self.manifest["dtype"])
        shards = tuple(_map(self.folder / shard["file"], dtype, shard["tokens"]) for shard in facts["shards"])
        starts = np.cumsum([0, *(len(shard) for shard in shards)])
        return TokenSplit(name, shards, starts, facts["bytes"], facts["documents"])


def open_shards(folder: Path, *, fingerprint: str | None = None) -> TokenShards:
    """Open a prepared folder, made by the tokenizer with `fingerprint` if one is given.

    Raises `DatasetError` when it is unfinished, when a file is missing or has another size (hashes are not
    computed again: that takes long), or when it is of another tokenizer.
    """
    trouble = files.broken_seal(folder, hashes=False)
    if trouble:
        raise DatasetError(
            f"The prepared tokens in {folder} cannot be used: {trouble}. Prepare the text again."
        )
    shards = TokenShards(folder, files.read_json(folder / files.MANIFEST))
    if fingerprint is not None and shards.fingerprint != fingerprint:
        raise DatasetError(
            f"The tokens in {folder} were made by another tokenizer ({shards.fingerprint[:12]}) than this "
            f"run's ({fingerprint[:12]}): the ids would mean other words. Prepare the text again with this one."
        )
    return shards


def _map(path: Path, dtype: np.dtype, tokens: int) -> np.ndarray:
    if not path.is_file() or path.stat().st_size != tokens * dtype.itemsize:
        raise DatasetError(
            f"{path} is missing, cut short or altered. Delete its folder and prepare the text again."
        )
    return np.memmap(path, dtype=dtype, mode="r") if tokens else np.empty(0, dtype)
