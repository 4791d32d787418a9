"""Creating a run: with all the files that describe it, or not at all.

The files are written into a hidden folder beside the runs, which is renamed to the run's name when it is complete. A
process killed before that leaves only a hidden folder, and the next new run removes it. The claim on the new run (see
`claim`) is held from the first file on, so no other process can interfere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from glassgpt import files
from glassgpt.errors import RunError
from glassgpt.leftovers import TEMPORARY
from glassgpt.runs.claim import Claim, held, take
from glassgpt.runs.directory import (
    LOCK,
    RunDirectory,
    is_free,
    normal,
    plain_name,
    refuse_taken,
    runs_folder,
)

TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


@contextlib.contextmanager
def new_run(name: str | None, *, base: str, describe: Callable[[RunDirectory], None]) -> Iterator[Claim]:
    """Make a run called `name`, or `base-1`, `base-2` ... when no name is given, and hold its claim during the block.

    `describe` writes the files of the run into the folder that is passed to it, which is not in its final place yet.
    Raises `RunError` when the name is taken, also by a process that was faster: nothing is ever overwritten. When
    `describe` raises an error, nothing is left behind.
    """
    if name is not None:
        refuse_taken(name)
    folder = runs_folder()
    stem = plain_name(base)
    claim = _hidden_run(folder, normal(name) if name else stem)
    try:
        describe(claim.run)
        path = _settle(claim.run.path, folder, name, stem)
    except BaseException:
        claim.let_go()
        shutil.rmtree(claim.run.path, ignore_errors=True)
        raise
    claim.run = RunDirectory(path)
    with held(claim):
        yield claim


def _hidden_run(folder: Path, stem: str) -> Claim:
    """Return a claim on an empty hidden folder, after removing those that killed processes left."""
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder) as alone:
        if alone:
            _clear(folder)
        path = folder / f".{stem}.{secrets.token_hex(4)}"
        path.mkdir()
        return take(RunDirectory(path))


def _settle(hidden: Path, folder: Path, name: str | None, stem: str) -> Path:
    """Rename a folder to the name of its run, or to the first free number; return its path."""
    names = [normal(name)] if name else (f"{stem}-{number}" for number in itertools.count(1))
    for each in names:
        path = folder / each
        try:
            if name and path.is_dir() and is_free(path):
                _empty(path)
            hidden.rename(path)  # onto an empty folder, too
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        else:
            files.flush_to_disk(folder)
            return path
    refuse_taken(name or stem)
    raise RunError(f"{folder / (name or stem)} could not be made. Choose another --name.")


def _empty(path: Path) -> None:
    """Remove the files that a killed process left in a folder."""
    for file in path.iterdir():
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove the hidden folders that killed processes left: those that no process holds."""
    for path in folder.iterdir():
        if not TEMPORARY.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
            continue
        left = {file.name for file in path.iterdir()}
        if left and LOCK not in left:
            continue  # not ours
        with contextlib.suppress(RunError, OSError):
            claim = take(RunDirectory(path))
            for file in path.iterdir():
                if file.name != LOCK:  # removed last, because it marks the folder as ours
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
            claim.let_go()
            path.rmdir()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Keep other processes from making or clearing hidden folders during the block; False where that is impossible."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
