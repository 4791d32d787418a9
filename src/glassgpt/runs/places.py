"""Finds the files that a run names, also when the project with its text and its runs was moved or copied.

A run records absolute paths and hashes. Where a path does not exist, its endings are tried beside the run and in the
current folder: for `/old/project/texts/tale.txt` first `old/project/texts/tale.txt`, last `tale.txt`. The caller
accepts a candidate by its hash, so one file is never taken for another.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from glassgpt.commands import command
from glassgpt.corpus.downloads import named_corpora
from glassgpt.errors import RunError
from glassgpt.runs.directory import RunDirectory

Accept = Callable[[str], bool]


def find(spec: str, directory: RunDirectory, accept: Accept, *, setting: str, ask: str = "resume") -> str:
    """Return where a file, folder or pattern of a run is now. Raises `RunError` when `accept` rejects all candidates.

    The error names the command `ask` with its option `setting`, which tells the new place.
    """
    if is_there(spec):
        return spec
    candidates = [candidate for candidate in endings(spec, directory) if is_there(candidate)]
    for candidate in candidates:
        if accept(candidate):
            return candidate
    if candidates:
        raise RunError(
            f"{spec}, which {directory.name} was trained on, no longer exists, and {candidates[0]} is not the "
            "same: it has changed since the run began. Put the original back."
        )
    was, new = ("no longer exists, and it is", "new ") if Path(spec).is_absolute() else ("is", "")
    raise RunError(
        f"{spec}, which {directory.name} was trained on, {was} neither beside the run nor in this folder. If you have "
        f"it elsewhere, give its {new}place:  {command(ask, directory.handle)} {setting} PATH"
    )


def is_there(spec: str) -> bool:
    """Return whether a path or a pattern matches a file; the names of corpora always count as found."""
    try:
        if Path(spec).expanduser().exists():
            return True
        if glob.has_magic(spec):
            return next(glob.iglob(spec, recursive=True), None) is not None  # noqa: PTH207 - absolute, too
    except (OSError, ValueError, RuntimeError):  # RuntimeError: nobody's home
        return False
    return spec.startswith(("builtin:", "hf:")) or spec in named_corpora()


def absolute(sources: Sequence[str]) -> tuple[str, ...]:
    """Return sources with every path and pattern made absolute, so that a run can be resumed from any folder."""
    return tuple(map(_absolute, sources))


def _absolute(source: str) -> str:
    if Path(source).exists():
        return str(Path(source).resolve())
    named = source.startswith(("builtin:", "hf:", "~")) or Path(source).is_absolute()
    if not named and glob.has_magic(source) and is_there(source):
        return str(Path(glob.escape(str(Path.cwd()))) / source)
    return source


def endings(spec: str, directory: RunDirectory) -> Iterator[str]:
    """Yield where a path may be now: longest ending first, and beside the run before the current folder."""
    parts = [part for part in Path(spec).parts if part != Path(spec).anchor]
    places = [*directory.path.resolve().parents, Path.cwd()]
    for first in range(len(parts)):
        for place in dict.fromkeys(places):
            folder = glob.escape(str(place)) if glob.has_magic(spec) else str(place)
            yield str(Path(folder, *parts[first:]))
