"""Sources of documents that a user can name: files, folders, globs, hub data sets, named corpora.

Sources may be mixed freely and are read in the order given; a folder's files are sorted. Opening checks that
everything exists, so a misspelt name is reported before an hour of reading; the text itself is only read when
asked for, as a stream. A file or folder takes precedence over a named corpus of the same name.
"""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path

from glassgpt import files
from glassgpt.commands import command
from glassgpt.corpus import builtin, downloads, hub
from glassgpt.corpus.decoding import open_bytes
from glassgpt.corpus.documents import Document
from glassgpt.corpus.formats import format_named, holds_records, suffixes
from glassgpt.corpus.passed_over import OURS, is_below_made, is_made, kind_of_folder, walk
from glassgpt.corpus.records import TEXT_FIELDS, read_documents, record_notes
from glassgpt.corpus.textfiles import read_text
from glassgpt.errors import CorpusError, did_you_mean

Contents = Sequence[tuple[Path, str | None]]
"""What `walk` finds in a folder: each path, and what it is if it is passed over."""
LIKE_A_CORPUS = 0.75
"""Least similarity of a word and the name of a corpus: a file that is missing is rarely meant as one."""
MOST_NAMED = 4
"""Most files that a message names."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file, built-in corpus or hub data set; `read()` opens it again each time."""

    name: str  # as shown to the user
    fingerprint: str  # of the content: a file's SHA-256, a built-in's name and version, a hub data set's name
    bytes: int | None  # size on disk, where it is a file
    read: Callable[[], Iterator[Document]]
    notes: tuple[str, ...] = ()  # what was guessed from the look of a file, to show before it is read


def open_sources(specs: Sequence[str], *, text_field: str | None = None) -> list[Source]:
    """Return the sources that `specs` name, in order. `text_field` names the field of records to read.

    Raises `CorpusError` for a name that does not exist, with the nearest names that do.
    """
    if not specs:
        raise CorpusError("No text was named. Give a file, a folder, or for example `builtin:tinytales`.")
    return [source for spec in specs for source in _open(str(spec), text_field)]


def refuse_missing(specs: Sequence[str], *, corpora: bool = True) -> None:
    """Raise `CorpusError` for a name that does not exist; no file is opened, so this takes no time.

    Without `corpora` only files and folders are meant, as for records.
    """
    for spec in map(str, specs):
        if _is_name_only(spec):
            raise _missing(spec) if corpora else CorpusError(f"There is no file or folder {spec}.")


def _is_name_only(spec: str) -> bool:
    """Return whether a word names no source of any kind."""
    known = spec.startswith(("builtin:", "hf:")) or spec in downloads.DOWNLOADS or spec in downloads.HUB_NAMES
    there = bool(spec.strip()) and Path(spec).expanduser().exists()
    return not (known or there or glob.has_magic(spec))


def refuse_idle_field(specs: Sequence[str], setting: str = "--text-field") -> None:
    """Raise `CorpusError` if a text field was given and no source has fields to choose from.

    A name that does not exist is not refused here: `open_sources` has a better message.
    """
    if specs and not any(_has_fields(str(spec)) for spec in specs):
        raise CorpusError(
            f"{setting} has no effect with {', '.join(map(str, specs[:3]))}{', ...' * (len(specs) > 3)}: only "
            f"{', '.join(suffixes(records=True))} and hf:owner/name without a #column have fields. Name such a source, "
            f"or leave out {setting}."
        )


def _has_fields(spec: str) -> bool:
    path = Path(spec).expanduser()
    if spec.startswith("builtin:"):
        return False
    if spec.startswith("hf:"):
        return hub.parse_spec(spec).column is None
    if spec.strip() and path.exists():
        return any(map(holds_records, _files_in(path)))
    if spec in downloads.DOWNLOADS:
        return False
    if spec in downloads.HUB_NAMES:
        return hub.parse_spec(downloads.HUB_NAMES[spec]).column is None
    return not glob.has_magic(spec) or any(
        holds_records(file) for match in _matching(spec) for file in _files_in(match)
    )


def read_all(sources: Iterable[Source]) -> Iterator[Document]:
    """Yield the documents of all sources, one source after the other."""
    for source in sources:
        yield from source.read()


def nothing_left(specs: Sequence[str], *, text_field: str | None = None) -> CorpusError:
    """Return the error for sources that leave no text to train on."""
    most = 3
    names = ", ".join(specs[:most]) + (f" and {len(specs) - most} more" if len(specs) > most else "")
    field = {} if text_field is None else {"text_field": text_field}
    return CorpusError(
        f"No text is left to train on in {names}: it is empty, or cleaning dropped all of it. "
        "--cleaning.mode off keeps everything. What is there:  "
        + command("data", "inspect", *specs[:most], **field)
    )


def _open(spec: str, text_field: str | None) -> Iterator[Source]:
    path = Path(spec).expanduser()
    if _is_name_only(spec):
        raise _missing(spec)
    if spec.startswith("builtin:"):
        yield _builtin(spec)
    elif spec.startswith("hf:"):
        yield _hub(spec, spec, text_field)
    elif spec.strip() and path.exists():
        yield from _files_of(path, text_field)
    elif spec in downloads.DOWNLOADS:
        yield _download(spec)
    elif spec in downloads.HUB_NAMES:
        yield _hub(spec, downloads.HUB_NAMES[spec], text_field)
    else:
        for match in _matching(spec):
            yield from _files_of(match, text_field)


def _builtin(spec: str) -> Source:
    kind = spec.split(":")[1]
    if kind == "tinytales":
        count, seed = builtin.parse_tinytales(spec)
        fingerprint = f"builtin:tinytales:{count}:{seed}@{builtin.tinytales_version()}"
        return Source(spec, fingerprint, None, partial(builtin.read_tinytales, count, seed))
    if spec == "builtin:lantern":
        text = builtin.lantern_text()
        return Source(spec, files.hash_text(text), len(text.encode()), lambda: iter([Document(text, spec)]))
    raise builtin.unknown_builtin(spec)


def _hub(name: str, spec: str, text_field: str | None) -> Source:
    hub.parse_spec(spec)
    return Source(name, spec, None, lambda: hub.read_hub(spec, text_field))


def _download(name: str) -> Source:
    corpus = downloads.DOWNLOADS[name]
    return Source(name, corpus.sha256, corpus.bytes, lambda: _renamed(read_text(downloads.fetch(name)), name))


def _renamed(documents: Iterable[Document], name: str) -> Iterator[Document]:
    """Name the corpus as the source of its documents, not the cached file."""
    for document in documents:
        yield Document(document.text, name, document.begins, document.ends)


def _files_in(path: Path) -> Iterator[Path]:
    """Yield a file itself, or the readable files of a folder."""
    yield from _texts(path, _contents(path)) if path.is_dir() else [path]


def _contents(folder: Path) -> Contents:
    """Return what `walk` finds in a folder. Raises `CorpusError` for a folder that GlassGPT wrote."""
    kind = kind_of_folder(folder)
    if kind in OURS:
        raise CorpusError(
            f"{folder} is a {kind}, not a folder of texts. Name the folder or the files of your texts."
        )
    return list(walk(folder))


def _texts(folder: Path, contents: Contents) -> list[Path]:
    """Return the readable files among the contents of a folder. Raises `CorpusError` where there is none."""
    found = [file for file, kind in contents if kind is None and format_named(file)]
    if not found:
        raise CorpusError(
            f"The folder {folder} holds no text that can be read. Looked for files ending in "
            f"{', '.join(suffixes())}, each also with .gz or .zst after it."
        )
    return found


def _files_of(path: Path, text_field: str | None) -> Iterator[Source]:
    """Yield the sources of a file or folder. The first source notes what in the folder is not read."""
    if not path.is_dir():
        yield _file(path, text_field)
        return
    contents = _contents(path)
    notes = tuple(filter(None, (_passed_over(path, contents), _left_out(path, contents))))
    for file in _texts(path, contents):
        source = _file(file, text_field)
        yield replace(source, notes=(*notes, *source.notes)) if notes else source
        notes = ()


def _passed_over(folder: Path, contents: Contents) -> str | None:
    """Return a sentence that counts what is no text in a folder (see `passed_over`), or None."""
    found = [(str(path.relative_to(folder)), kind) for path, kind in contents if kind]
    if not found:
        return None
    parts = []
    for kind in dict.fromkeys(kind for _, kind in found):
        names = [name for name, other in found if other == kind]
        more = ", ..." if len(names) > 1 else ""
        parts.append(f"{len(names):,} {_plural(kind, len(names))} ({names[0]}{more})")
    return f"Passed over in {folder}, because it is no text of yours: {', '.join(parts)}."


def _plural(kind: str, count: int) -> str:
    """Return the name of a kind for a count: "run directory", "run directories"."""
    if count == 1:
        return kind
    if kind.startswith("folder "):
        return kind.replace("folder", "folders", 1)
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def _left_out(folder: Path, contents: Contents) -> str | None:
    """Return a sentence naming the files of a folder that are not read because of their suffixes, or None."""
    unread = [file for file, kind in contents if kind is None and not format_named(file)]
    names = [str(file.relative_to(folder)) for file in unread]
    if not names:
        return None
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return (
        f"Not read in {folder} because of their suffixes: {', '.join(names[:MOST_NAMED])}{more}. A file that you name "
        "is read as plain text."
    )


def _matching(pattern: str) -> Iterator[Path]:
    """Yield the files and folders that a pattern matches."""
    # Path.glob accepts neither absolute patterns nor `~`.
    matches = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))  # noqa: PTH111, PTH207
    if not matches:
        raise CorpusError(f"No file matches {pattern!r}.")
    if "**" in pattern:
        # `**` already matches the contents of the folders it matches. Files in a run and the like are passed over, as
        # in a folder that is named.
        plain = takewhile(lambda part: not glob.has_magic(part), Path(os.path.expanduser(pattern)).parts)  # noqa: PTH111
        root = Path(*plain)
        found = [path for path in map(Path, matches) if path.is_file() and not is_below_made(path, root)]
    else:
        found = [path for path in map(Path, matches) if not is_made(path)]
    if not found:
        raise CorpusError(f"{pattern!r} matches no text, only folders or what GlassGPT wrote.")
    yield from found


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, sorted, without hidden ones and what is no text."""
    return (path for path, kind in walk(folder) if kind is None)


def _file(path: Path, text_field: str | None) -> Source:
    if not path.is_file():
        raise CorpusError(f"{path} is neither a file nor a folder.")
    with open_bytes(path):  # an unreadable file is reported now
        pass
    fingerprint, size = files.hash_file(path), path.stat().st_size
    known = format_named(path)
    if known is None or known.records is None:  # a file that is named is text, whatever its suffix
        read = (known and known.documents) or read_text
        return Source(str(path), fingerprint, size, partial(read, path))
    notes = tuple(record_notes(path, TEXT_FIELDS if text_field is None else (text_field,)))
    return Source(str(path), fingerprint, size, partial(read_documents, path, text_field), notes)


def _missing(spec: str) -> CorpusError:
    folder = Path(spec).expanduser().parent
    beside = [path.name for path in folder.iterdir() if path.name[0] != "."] if folder.is_dir() else []
    prefix = spec[: len(spec) - len(Path(spec).name)]
    names = [*builtin.BUILTINS, *downloads.named_corpora()]
    near = did_you_mean(spec, [prefix + name for name in beside]) or _near_corpus(spec, names)
    return CorpusError(
        f"There is no file, folder or corpus {spec!r}.{near} Corpora known by name: {', '.join(names)}."
    )


def _near_corpus(spec: str, names: Sequence[str]) -> str:
    """Return a question about the corpora whose name a word resembles, with or without their `builtin:`; else ""."""
    by_word = {name.rpartition(":")[2].lower(): name for name in names}
    word = spec.rpartition(":")[2].lower()
    near = difflib.get_close_matches(word, by_word, n=2, cutoff=LIKE_A_CORPUS)
    return f" Did you mean {', '.join(by_word[each] for each in near)}?" if near else ""
