"""Checks on the output file of a command: it never replaces an input, and another file only with `--force`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from glassgpt.errors import OutputError


def refuse_overwriting(
    path: Path,
    *,
    option: str,
    inputs: Callable[[], Iterable[Path]] = lambda: (),
    force: bool = False,
    replaceable: Callable[[Path], bool] = lambda _: False,
    folder: bool = False,
) -> None:
    """Raise `OutputError` when `path`, which `option` named, exists and may not be overwritten.

    `inputs` gives the files and folders that are read: they are never overwritten, whatever link or spelling leads
    to them. Any other file is overwritten with `force`, or when `replaceable` says that the same command made it.
    With `folder` the output is a folder. Call this before the work, so that no hour is wasted.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(found.st_mode) and not folder:
        raise OutputError(f"{path} is a folder. Name a file in it with {option}.")
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise OutputError(
            f"{path} is not an ordinary file, and writing a file there would replace it. Choose another "
            f"{option}."
        )
    if any(_is_within(found, path, place) for place in inputs()):
        raise OutputError(
            f"{path} is one of the files that this command reads, and would be lost. Choose another {option}."
        )
    if force or replaceable(path):
        return
    raise OutputError(f"{path} exists already. Choose another {option}, or add --force to write over it.")


def _is_within(found: os.stat_result, path: Path, place: Path) -> bool:
    """Return whether an existing file is the file `place` or is inside the folder `place`."""
    try:
        there = place.stat()
    except OSError:
        return False
    if stat.S_ISDIR(there.st_mode):
        return any(os.path.samestat(parent.stat(), there) for parent in path.resolve().parents)
    return os.path.samestat(found, there)
