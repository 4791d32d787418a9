"""Documents to token shards: parallel, resumable, and in constant memory.

The stream of documents is cut into groups of a few megabytes. A group is encoded while the next one is
read (the tokenizer's threads run outside Python's lock), appended to one file per split, and recorded in
the journal `groups.jsonl`. If preparing is interrupted, the next call reads the stream again, which is
cheap. It cuts the files back to the recorded groups, skips these, and encodes only the rest. The manifest
is written last.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from glassgpt import files
from glassgpt.dataset.shards import SPLITS, TokenShards, note_verified, open_shards, token_dtype, unusable

GROUP_CHARACTERS = 2_000_000
GROUPS_PER_SHARD = 1024  # files of a gigabyte: a mapped file costs a descriptor, and a process has few
JOURNAL = "groups.jsonl"
LOCK = ".lock"

Encode = Callable[[list[str]], Sequence[Sequence[int] | np.ndarray]]
Entry = dict[str, dict[str, Any]]  # one line of the journal: for each split, what a group added to which file


class Piece(Protocol):
    """What this module needs of a document (or a piece of a long one): its text, and whether it ends there."""

    @property
    def text(self) -> str:
        """The text."""
        ...

    @property
    def is_last_piece(self) -> bool:
        """Whether `<|endoftext|>` follows."""
        ...


class Encoder(Protocol):
    """What this module needs of a tokenizer."""

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
        """A hash that changes whenever the ids of a text could change."""
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
        """Add one document to its split."""
        self.pieces[split].append(piece)
        self.characters += len(piece.text) + 1  # + 1 so that empty documents fill a group, too


def prepare(
    documents: Iterable[tuple[str, Piece]],
    tokenizer: Encoder,
    folder: Path,
    *,
    plan: str,
    facts: dict[str, Any] | None = None,
    group_characters: int = GROUP_CHARACTERS,
    encode: Encode | None = None,
) -> TokenShards:
    """Write the shards of `documents` (split name, document) into `folder` and open them.

    `plan` is a hash of everything that decides the stream: earlier work with another plan (or tokenizer) is
    discarded, work with the same plan is continued. `facts` are written to the manifest as they are; a callable
    among them is called at the end, when the stream has been read. If several processes prepare the same folder,
    one does the work and the others wait for it. `encode` may replace the tokenizer's `encode_batch` with a faster
    function for the same ids, such as one that returns arrays. Raises `DiskFullError` when the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder / LOCK), files.explain_writing(folder):
        if not _is_finished(folder, plan, tokenizer):
            encode = encode or tokenizer.encode_batch
            _prepare(documents, tokenizer, encode, folder, plan, facts or {}, group_characters)
    return open_shards(folder)


def _is_finished(folder: Path, plan: str, tokenizer: Encoder) -> bool:
    if unusable(folder):
        return False
    manifest = files.read_json(folder / files.MANIFEST)
    return (manifest.get("plan"), manifest.get("tokenizer")) == (plan, tokenizer.fingerprint)


def _prepare(
    documents: Iterable[tuple[str, Piece]],
    tokenizer: Encoder,
    encode: Encode,
    folder: Path,
    plan: str,
    facts: dict[str, Any],
    group_characters: int,
) -> None:
    files.remove_leftovers(folder)
    done = _resume(folder, f"{plan} {tokenizer.fingerprint} {group_characters}", tokenizer)
    parts: Counter[str] = Counter()
    entries: list[Entry] = []
    with ThreadPoolExecutor(max_workers=1) as worker:
        waiting: deque[Future[Entry]] = deque()
        for group in _groups(_counting(documents, parts), group_characters):
            if group.index < len(done):
                entries.append(done[group.index])
                continue
            waiting.append(worker.submit(_write_group, group, tokenizer, encode, folder))
            if len(waiting) > 1:  # one being encoded, one being read: never more in memory
                entries.append(_note(folder, waiting.popleft().result()))
        entries.extend(_note(folder, future.result()) for future in waiting)
    tokenizer.save(folder / "tokenizer.json")
    resolved = {key: value() if callable(value) else value for key, value in facts.items()}
    files.seal(
        folder,
        leave_out=(JOURNAL,),
        plan=plan,
        tokenizer=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        dtype=token_dtype(tokenizer.vocab_size).str,
        splits={name: _split_facts(name, entries, parts[name]) for name in SPLITS},
        **resolved,
    )
    note_verified(folder)  # these files were just written and need not be read again
    (folder / JOURNAL).unlink()


def _counting(documents: Iterable[tuple[str, Piece]], parts: Counter[str]) -> Iterator[tuple[str, Piece]]:
    """Pass documents on, and count those of which a split gets at least a part.

    The stream is read whole, so this needs no journal.
    """
    ended = 0
    last: dict[str, int] = {}
    for split, piece in documents:
        parts[split] += last.get(split) != ended
        last[split] = ended
        ended += piece.is_last_piece
        yield split, piece


def _groups(documents: Iterable[tuple[str, Piece]], characters: int) -> Iterator[Group]:
    group = Group(0)
    for split, piece in documents:
        group.add(split, piece)
        if group.characters >= characters:
            yield group
            group = Group(group.index + 1)
    if group.characters:
        yield group


def _write_group(group: Group, tokenizer: Encoder, encode: Encode, folder: Path) -> Entry:
    """Encode one group and append it to the files; return its line for the journal."""
    dtype = token_dtype(tokenizer.vocab_size)
    entry: Entry = {}
    for name, pieces in group.pieces.items():
        if not pieces:
            continue
        ids = _encode(pieces, tokenizer.end_of_text, encode, dtype)
        shard = f"{name}-{group.index // GROUPS_PER_SHARD:05d}.bin"
        _append(folder / shard, ids.tobytes())
        entry[name] = {
            "file": shard,
            "tokens": len(ids),
            "bytes": sum(len(piece.text.encode("utf-8", "surrogatepass")) for piece in pieces),
            "documents": sum(piece.is_last_piece for piece in pieces),
        }
    return entry


def _encode(pieces: list[Piece], end_of_text: int, encode: Encode, dtype: np.dtype) -> np.ndarray:
    end = np.array([end_of_text], dtype)
    rows: list[np.ndarray] = []
    for piece, ids in zip(pieces, encode([piece.text for piece in pieces]), strict=True):
        rows.append(np.asarray(ids, dtype))
        if piece.is_last_piece:
            rows.append(end)
    return np.concatenate(rows)


def _append(path: Path, content: bytes) -> None:
    """Append to a file, and wait until the content is on the disk."""
    with open(path, "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _split_facts(name: str, entries: list[Entry], parts: int) -> dict[str, Any]:
    """Return the size of a split. `documents` end in it; `parts` are the documents of which it has at least a part."""
    written = [entry[name] for entry in entries if name in entry]
    return {
        "tokens": sum(part["tokens"] for part in written),
        "bytes": sum(part["bytes"] for part in written),
        "documents": sum(part["documents"] for part in written),
        "parts": parts,
        "shards": [{"file": file, "tokens": tokens} for file, tokens in _tokens_by_file(written).items()],
    }


def _tokens_by_file(parts: Iterable[dict[str, Any]]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for part in parts:
        tokens[part["file"]] = tokens.get(part["file"], 0) + part["tokens"]
    return tokens


def _resume(folder: Path, title: str, tokenizer: Encoder) -> list[Entry]:
    """Return the groups that are done under `title`, and restore the folder to the state right after them."""
    done = _read_journal(folder, title)
    size = token_dtype(tokenizer.vocab_size).itemsize
    noted = _tokens_by_file(part for entry in done for part in entry.values())
    bytes_noted = {file: tokens * size for file, tokens in noted.items()}
    if any(_size(folder / file) < expected for file, expected in bytes_noted.items()):
        done, bytes_noted = [], {}  # somebody removed files that the journal lists
    (folder / files.MANIFEST).unlink(missing_ok=True)
    for split in SPLITS:
        for path in folder.glob(f"{split}-*.bin"):
            if path.name in bytes_noted:
                os.truncate(path, bytes_noted[path.name])
            else:
                path.unlink()
    lines = [title, *(json.dumps(entry) for entry in done)]
    files.write_text(folder / JOURNAL, "".join(f"{line}\n" for line in lines))
    return done


def _read_journal(folder: Path, title: str) -> list[Entry]:
    """Return the recorded groups up to the first line that a crash left incomplete; none for another title."""
    journal = folder / JOURNAL
    lines = journal.read_text(encoding="utf-8", errors="replace").split("\n") if journal.is_file() else [""]
    done: list[Entry] = []
    if lines[0] != title:
        return done
    for line in lines[1:-1]:  # text after the last line end was never finished
        try:
            done.append(json.loads(line))
        except ValueError:
            break
    return done


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _note(folder: Path, entry: Entry) -> Entry:
    """Append one finished group to the journal."""
    _append(folder / JOURNAL, (json.dumps(entry) + "\n").encode())
    return entry
