"""Token shards: the ids of a corpus on disk, as flat arrays that are memory-mapped rather than loaded.

    <folder>/
      train-00000.bin  validation-00000.bin ...   little-endian uint16, or uint32 above 65,536 ids
      tokenizer.json                              the vocabulary of the ids
      manifest.json                               written last: counts, hashes, sources, fingerprint

The documents of a split are stored one after another, each followed by `<|endoftext|>`. A folder without a manifest
was never finished; `prepare.py` continues it. This module only reads, except that it records which files it found
unaltered, so that the hash of a large file is computed once.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec
import numpy as np

from glassgpt import files
from glassgpt.commands import quoted
from glassgpt.errors import DatasetError, DiskFullError

SPLITS = ("train", "validation", "test")
COUNTED_AT_ONCE = 1 << 22
VERIFIED = ".verified.json"


class FileFacts(TypedDict):
    """The expected facts of a file in the folder."""

    sha256: str
    bytes: int


class ShardFacts(TypedDict):
    """A file of ids."""

    file: str
    tokens: int


class SplitFacts(TypedDict):
    """The size of a split, and its files."""

    documents: int
    bytes: int
    tokens: int
    shards: list[ShardFacts]


class Manifest(TypedDict):
    """The parts of `manifest.json` that are read here."""

    plan: str
    tokenizer: str
    vocab_size: int
    dtype: Literal["<u2", "<u4"]
    splits: dict[str, SplitFacts]
    files: dict[str, FileFacts]


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the smallest unsigned type that holds every id below `vocab_size`."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


@dataclass(frozen=True)
class TokenSplit:
    """One split as a single long row of ids, whatever the number of its files."""

    name: str
    shards: tuple[np.ndarray, ...]
    starts: np.ndarray  # where each shard begins in the row; one more entry than there are shards
    text_bytes: int
    documents: int
    vocab_size: int = 2**32  # every id must be below it

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def bytes_per_token(self) -> float:
        """Average UTF-8 bytes of text per token; `<|endoftext|>` counts as a token."""
        return self.text_bytes / max(1, len(self))

    def after(self, token: int) -> TokenSplit:
        """Return the same row with `token` in front, such as the end of a document before the first one."""
        first = np.array([token], self.shards[0].dtype if self.shards else np.uint32)
        return replace(self, shards=(first, *self.shards), starts=np.concatenate(([0], self.starts + 1)))

    def places_of(self, token: int) -> np.ndarray:
        """Return every place of `token` in the row: int64 (N,)."""
        found = [
            np.flatnonzero(shard == token) + start
            for shard, start in zip(self.shards, self.starts, strict=False)
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def counts(self, vocab_size: int) -> np.ndarray:
        """Return how often each id below `vocab_size` occurs in the row: int64 (vocab_size,).

        Raises `DatasetError` if there is any other id.
        """
        counted = np.zeros(vocab_size, np.int64)
        for shard in self.shards:
            for start in range(0, len(shard), COUNTED_AT_ONCE):  # counting copies each id to 8 bytes
                ids = shard[start : start + COUNTED_AT_ONCE]
                if ids.max() >= vocab_size:  # counting would take memory for every id up to it
                    raise _beyond(self.shards)
                counted += np.bincount(ids, minlength=vocab_size)
        return counted

    def read(self, start: int, length: int) -> np.ndarray:
        """Return ids [start, start + length) as int64, crossing from shard to shard where needed.

        Raises `DatasetError` for an id that is not in the vocabulary: the file was altered since it was verified.
        """
        assert 0 <= start <= start + length <= len(self), (start, length, len(self))
        pieces = []
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        while length > 0:
            offset = start - int(self.starts[shard])
            piece = self.shards[shard][offset : offset + length]
            pieces.append(piece)
            start, length, shard = start + len(piece), length - len(piece), shard + 1
        ids = np.concatenate(pieces)
        if len(ids) and ids.max() >= self.vocab_size:
            raise _beyond(self.shards)
        return ids.astype(np.int64)


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
        """The number of ids of the tokenizer."""
        return self.manifest["vocab_size"]

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each file of ids, by its name: the exact training data of a run."""
        return {
            shard["file"]: self.manifest["files"][shard["file"]]["sha256"]
            for facts in self.manifest["splits"].values()
            for shard in facts["shards"]
        }

    def split(self, name: str) -> TokenSplit:
        """Map one split into memory. Raises `DatasetError` when its files do not match the manifest."""
        facts = self.manifest["splits"].get(name, {"shards": [], "bytes": 0, "documents": 0})
        dtype = np.dtype(self.manifest["dtype"])
        shards = tuple(_map(self.folder / shard["file"], dtype, shard["tokens"]) for shard in facts["shards"])
        starts = np.cumsum([0, *(len(shard) for shard in shards)])
        return TokenSplit(name, shards, starts, facts["bytes"], facts["documents"], self.vocab_size)


def open_shards(folder: Path, *, fingerprint: str | None = None) -> TokenShards:
    """Open a prepared folder; if `fingerprint` is given, check that this tokenizer made it.

    Raises `DatasetError` when the folder is unfinished or altered, or was made by another tokenizer.
    """
    trouble = unusable(folder)
    if trouble:
        raise DatasetError(f"The prepared tokens in {folder} cannot be used: {trouble}. {_cure(folder)}")
    shards = TokenShards(folder, files.read_json(folder / files.MANIFEST))
    if fingerprint is not None and shards.fingerprint != fingerprint:
        raise DatasetError(
            f"The tokens in {folder} were made by another tokenizer ({shards.fingerprint[:12]}) than this "
            f"run's ({fingerprint[:12]}): the ids would stand for other words. {_cure(folder)}"
        )
    return shards


def unusable(folder: Path) -> str | None:
    """Return what is wrong with a prepared folder in a few words, or None when it can be used for training.

    The first time, each file is read whole: its hash must be right, and every id must be in the vocabulary. Then its
    size and modification time are recorded, and the file is trusted until they change.
    """
    trouble = files.broken_seal(folder, hashes=False)
    if trouble:
        return trouble
    try:
        manifest = files.read_json(folder / files.MANIFEST)
        msgspec.convert(manifest, Manifest)
    except (OSError, ValueError, RecursionError) as error:
        return f"its {files.MANIFEST} cannot be used ({error})"
    return _first_altered(folder, manifest)


def note_verified(folder: Path) -> None:
    """Record that the files of a folder now match its manifest; nothing is recorded if it is not writable."""
    manifest = files.read_json(folder / files.MANIFEST)
    seen = {name: _now(folder / name, facts) for name, facts in manifest["files"].items()}
    with contextlib.suppress(OSError, DiskFullError):
        files.write_json(folder / VERIFIED, seen)


def _first_altered(folder: Path, manifest: dict[str, Any]) -> str | None:
    try:
        noted = msgspec.convert(files.read_json(folder / VERIFIED), dict[str, list[str | int]])
    except (OSError, ValueError, RecursionError):
        noted = {}
    shards = {shard["file"] for facts in manifest["splits"].values() for shard in facts["shards"]}
    unlisted = shards - manifest["files"].keys()
    if unlisted:
        return f"its {files.MANIFEST} has no hash of {min(unlisted)}"
    new = [
        (name, facts)
        for name, facts in manifest["files"].items()
        if noted.get(name) != _now(folder / name, facts)
    ]
    for name, facts in new:
        if files.hash_file(folder / name) != facts["sha256"]:
            return f"{name} was altered"
        if name in shards and _highest(folder / name, np.dtype(manifest["dtype"])) >= manifest["vocab_size"]:
            return f"{name} has ids beyond the vocabulary"
    if new:
        note_verified(folder)
    return None


def _now(path: Path, facts: dict[str, Any]) -> list[str | int]:
    """Return the values that identify a file without reading it."""
    found = path.stat()
    return [facts["sha256"], found.st_size, found.st_mtime_ns]


def _highest(path: Path, dtype: np.dtype) -> int:
    """Return the highest id in a file, or -1 if it is empty, reading one part at a time."""
    if not path.stat().st_size:
        return -1
    ids = np.memmap(path, dtype=dtype, mode="r")
    return max(int(ids[start : start + (1 << 24)].max()) for start in range(0, len(ids), 1 << 24))


def _cure(folder: Path) -> str:
    return f"Delete that folder, and the text is prepared again:  rm -r {quoted(str(folder))}"


def _beyond(shards: tuple[np.ndarray, ...]) -> DatasetError:
    """Return the error for ids outside the vocabulary, and have the files verified again when they are next opened."""
    path = next((shard.filename for shard in shards if isinstance(shard, np.memmap)), None)
    if path is None:
        return DatasetError("The tokens hold ids that are not in the vocabulary.")
    folder = Path(path).parent
    with contextlib.suppress(OSError):
        (folder / VERIFIED).unlink(missing_ok=True)
    return DatasetError(
        f"The prepared tokens in {folder} were altered: they hold ids that are not in the vocabulary. Run the command "
        "again to have them checked and prepared again. To continue a run that had started:  glassgpt resume"
    )


def _map(path: Path, dtype: np.dtype, tokens: int) -> np.ndarray:
    if not path.is_file() or path.stat().st_size != tokens * dtype.itemsize:
        raise DatasetError(f"{path} is missing, cut short or altered. {_cure(path.parent)}")
    return np.memmap(path, dtype=dtype, mode="r") if tokens else np.empty(0, dtype)
