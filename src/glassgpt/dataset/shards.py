"""Token shards: the ids of a corpus on disk, as flat arrays that are mapped rather than loaded.

    <folder>/
      train-00000.bin  validation-00000.bin ...   little-endian uint16, or uint32 above 65,536 ids
      tokenizer.json                              the vocabulary the ids mean something in
      manifest.json                               written last: counts, hashes, sources, fingerprint

The documents of a split lie one after another, each closed by `<|endoftext|>`. A folder without a
manifest was never finished; `prepare.py` goes on from there. This module reads; all it writes is a note of which
files it has seen to be unaltered, so that the hash of a large one is computed once.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
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
    """What a file of the folder must be."""

    sha256: str
    bytes: int


class ShardFacts(TypedDict):
    """A file of ids."""

    file: str
    tokens: int


class SplitFacts(TypedDict):
    """How much a split holds, and in which files."""

    documents: int
    bytes: int
    tokens: int
    shards: list[ShardFacts]


class Manifest(TypedDict):
    """All of `manifest.json` that is read here."""

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
    """One split as a single long row of ids, whatever number of files it lies in."""

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
        """Return how often each id below `vocab_size` stands in the row: int64 (vocab_size,).

        Raises `DatasetError` where there is another id.
        """
        counted = np.zeros(vocab_size, np.int64)
        for shard in self.shards:
            for start in range(0, len(shard), COUNTED_AT_ONCE):  # counting copies to 8 bytes an id
                ids = shard[start : start + COUNTED_AT_ONCE]
                if ids.max() >= vocab_size:  # counting it would take memory for each id up to it
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
        """The number of ids the tokenizer has."""
        return self.manifest["vocab_size"]

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each file of ids, by its name: what a run has learned from, exactly."""
        return {
            shard["file"]: self.manifest["files"][shard["file"]]["sha256"]
            for facts in self.manifest["splits"].values()
            for shard in facts["shards"]
        }

    def split(self, name: str) -> TokenSplit:
        """Map one split. Raises `DatasetError` when its files do not fit the manifest."""
        facts = self.manifest["splits"].get(name, {"shards": [], "bytes": 0, "documents": 0})
        dtype = np.dtype(self.manifest["dtype"])
        shards = tuple(_map(self.folder / shard["file"], dtype, shard["tokens"]) for shard in facts["shards"])
        starts = np.cumsum([0, *(len(shard) for shard in shards)])
        return TokenSplit(name, shards, starts, facts["bytes"], facts["documents"], self.vocab_size)


def open_shards(folder: Path, *, fingerprint: str | None = None) -> TokenShards:
    """Open a prepared folder, made by the tokenizer with `fingerprint` if one is given.

    Raises `DatasetError` when it is unfinished or altered, or when it is of another tokenizer.
    """
    trouble = unusable(folder)
    if trouble:
        raise DatasetError(f"The prepared tokens in {folder} cannot be used: {trouble}. {_cure(folder)}")
    shards = TokenShards(folder, files.read_json(folder / files.MANIFEST))
    if fingerprint is not None and shards.fingerprint != fingerprint:
        raise DatasetError(
            f"The tokens in {folder} were made by another tokenizer ({shards.fingerprint[:12]}) than this "
            f"run's ({fingerprint[:12]}): the ids would mean other words. {_cure(folder)}"
        )
    return shards


def unusable(folder: Path) -> str | None:
    """Say what is wrong with a prepared folder in a few words, or return None when it can be trained on.

    The first time each file is read whole: its hash must be right, and every id in the vocabulary. Then its size and
    time of change are noted, and believed as long as they stay.
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
    """Note that the files of a folder are now as its manifest says. A cache that cannot be written goes without."""
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
    """Return by what a file is known again without reading it."""
    found = path.stat()
    return [facts["sha256"], found.st_size, found.st_mtime_ns]


def _highest(path: Path, dtype: np.dtype) -> int:
    """Return the highest id of a file, or -1, a part of it at a time."""
    if not path.stat().st_size:
        return -1
    ids = np.memmap(path, dtype=dtype, mode="r")
    return max(int(ids[start : start + (1 << 24)].max()) for start in range(0, len(ids), 1 << 24))


def _cure(folder: Path) -> str:
    return f"Delete that folder, and the text is prepared again:  rm -r {quoted(str(folder))}"


def _beyond(shards: tuple[np.ndarray, ...]) -> DatasetError:
    """Return what to say of ids that no token has, and let the files be verified again when they are opened."""
    path = next((shard.filename for shard in shards if isinstance(shard, np.memmap)), None)
    if path is None:
        return DatasetError("The tokens hold ids that are not in the vocabulary.")
    folder = Path(path).parent
    with contextlib.suppress(OSError):
        (folder / VERIFIED).unlink(missing_ok=True)
    return DatasetError(
        f"The prepared tokens in {folder} were altered: they hold ids that are not in the vocabulary. Run the command "
        "again, and they are verified and prepared again; a training that had begun goes on with  glassgpt resume"
    )


def _map(path: Path, dtype: np.dtype, tokens: int) -> np.ndarray:
    if not path.is_file() or path.stat().st_size != tokens * dtype.itemsize:
        raise DatasetError(f"{path} is missing, cut short or altered. {_cure(path.parent)}")
    return np.memmap(path, dtype=dtype, mode="r") if tokens else np.empty(0, dtype)
