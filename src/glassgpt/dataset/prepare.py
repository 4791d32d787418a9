"""Documents to token shards: parallel, resumable, and in constant memory.

The stream of documents is cut into groups of a few megabytes. A group is encoded while the next one is
read (the tokenizer's threads run outside Python's lock), written as one file a split, and noted in
`groups.jsonl`. When preparing is interrupted, the next call reads the stream again, which is cheap,
passes over the groups that are noted, and encodes only the rest. The manifest is written last.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from glassgpt import files
from glassgpt.dataset.shards import SPLITS, TokenShards, open_shards, token_dtype

GROUP_CHARACTERS = 2_000_000
JOURNAL = "groups.jsonl"


class Piece(Protocol):
    """What is asked of a document (or of a piece of a long one): its text, and whether it ends there."""

    @property
    def text(self) -> str:
        """The text."""
        ...

    @property
    def is_last_piece(self) -> bool:
        """Whether `<|endoftext|>` follows."""
        ...


class Encoder(Protocol):
    """What is asked of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        ...

    @property
    def end_of_text(self) -> int:
        """The id that closes a document."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash that changes whenever ids could change."""
        ...

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Encode several texts in parallel."""
        ...

    def save(self, path: Path) -> None:
        """Write tokenizer.json."""
        ...


@dataclass
class Group:
    """A few megabytes of consecutive documents, by split."""

    index: int
    pieces: dict[str, list[Piece]] = field(default_factory=lambda: {name: [] for name in SPLITS})
    characters: int = 0

    def add(self, split: str, piece: Piece) -> None:
        """Put one document into its split."""
        self.pieces[split].append(piece)
        self.characters += len(piece.text)


def prepare(
    documents: Iterable[tuple[str, Piece]],
    tokenizer: Encoder,
    folder: Path,
    *,
    plan: str,
    facts: dict[str, Any] | None = None,
    group_characters: int = GROUP_CHARACTERS,
) -> TokenShards:
    """Write the shards of `documents` (split name, document) into `folder` and open them.

    `plan` is a hash of everything that decides the stream: work left there by another plan is discarded,
    work of the same plan is gone on with. `facts` go into the manifest as they are; a callable among them
    is called at the end, when the stream has been read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = _read_journal(folder, plan)
    entries: list[dict[str, Any]] = []
    with ThreadPoolExecutor(max_workers=1) as worker:
        waiting: deque[Future[dict[str, Any]]] = deque()
        for group in _groups(documents, group_characters):
            if group.index < len(done):
                entries.append(done[group.index])
                continue
            waiting.append(worker.submit(_write_group, group, tokenizer, folder))
            if len(waiting) > 1:  # one being encoded, one read: no more is ever in memory
                entries.append(_note(folder, waiting.popleft().result()))
        entries.extend(_note(folder, future.result()) for future in waiting)
    tokenizer.save(folder / "tokenizer.json")
    resolved = {key: value() if callable(value) else value for key, value in (facts or {}).items()}
    (folder / JOURNAL).unlink()
    files.seal(
        folder,
        plan=plan,
        tokenizer=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        dtype=token_dtype(tokenizer.vocab_size).str,
        splits={name: _split_facts(name, entries) for name in SPLITS},
        **resolved,
    )
    return open_shards(folder)


def _groups(documents: Iterable[tuple[str, Piece]], characters: int) -> Iterator[Group]:
    group = Group(0)
    for split, piece in documents:
        group.add(split, piece)
        if group.characters >= characters:
            yield group
            group = Group(group.index + 1)
    if group.characters:
        yield group


def _write_group(group: Group, tokenizer: Encoder, folder: Path) -> dict[str, Any]:
    """Encode one group and write its files; return its line of the journal."""
    dtype = token_dtype(tokenizer.vocab_size)
    entry: dict[str, Any] = {}
    for name, pieces in group.pieces.items():
        if not pieces:
            continue
        ids = _encode(pieces, tokenizer, dtype)
        with files.atomic_write(folder / _shard_name(name, group.index), "wb") as file:
            file.write(ids.tobytes())
        entry[name] = {
            "file": _shard_name(name, group.index),
            "tokens": len(ids),
            "bytes": sum(len(piece.text.encode("utf-8", "surrogatepass")) for piece in pieces),
            "documents": sum(piece.is_last_piece for piece in pieces),
        }
    return entry


def _encode(pieces: list[Piece], tokenizer: Encoder, dtype: np.dtype) -> np.ndarray:
    end = np.array([tokenizer.end_of_text], dtype)
    rows: list[np.ndarray] = []
    for piece, ids in zip(pieces, tokenizer.encode_batch([piece.text for piece in pieces]), strict=True):
        rows.append(np.array(ids, dtype))
        if piece.is_last_piece:
            rows.append(end)
    return np.concatenate(rows)


def _shard_name(split: str, index: int) -> str:
    return f"{split}-{index:05d}.bin"


def _split_facts(name: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    shards = [entry[name] for entry in entries if name in entry]
    return {
        "tokens": sum(shard["tokens"] for shard in shards),
        "bytes": sum(shard["bytes"] for shard in shards),
        "documents": sum(shard["documents"] for shard in shards),
        "shards": [{"file": shard["file"], "tokens": shard["tokens"]} for shard in shards],
    }


def _read_journal(folder: Path, plan: str) -> list[dict[str, Any]]:
    """Return the groups that are done under `plan`, or empty the folder and begin a journal."""
    journal = folder / JOURNAL
    lines = journal.read_text(encoding="utf-8").split("\n") if journal.is_file() else [""]
    if lines[0] != plan:
        for file in folder.iterdir():
            file.unlink()
        files.write_text(journal, plan + "\n")
        return []
    # After a crash the last line may be torn; what follows the last line end was never finished.
    done = [json.loads(line) for line in lines[1:-1]]
    files.write_text(journal, "\n".join([*lines[:-1], ""]))
    return done


def _note(folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Append one finished group to the journal."""
    with open(folder / JOURNAL, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return entry
