"""What is being written has a hidden name until it is whole, and a lock while its process lives.

A process that is killed leaves the hidden file or folder behind. Whoever writes to the same place next finds it by
its name, and knows by the lock, which the system lets go of however a process ends, that nobody needs it any more.
Where a file system knows no locks, nothing is removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}", re.DOTALL)
"""Names of what is being written and was not renamed into place yet."""


def stem_of(path: Path) -> str:
    """Return what the hidden names for a path begin with: as much of its name as any file system has room for."""
    return path.name[:48]


def hidden(folder: Path, stem: str) -> Path:
    """Return a hidden name in a folder that nothing has yet."""
    return folder / f".{stem}.{secrets.token_hex(4)}"


@contextlib.contextmanager
def claimed(path: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """Make something beside `path` under a hidden name, and hold its lock during the block."""
    while True:
        temporary = hidden(path.parent, stem_of(path))
        make(temporary)
        with contextlib.suppress(FileNotFoundError):
            descriptor = _locked(temporary)
            if _is_at(descriptor, temporary):
                break
            os.close(descriptor)  # taken for abandoned before it had its lock
    try:
        yield temporary
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alive(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder during the block, under whatever name it is by then."""
    descriptor = _locked(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Open a file or folder and lock it, where there are locks; it is ours until the descriptor is closed."""
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def abandoned(folder: Path, stem: str) -> list[Path]:
    """Return the hidden files and folders of a stem whose processes have ended."""
    pattern = re.compile(rf"\.{re.escape(stem)}\.[0-9a-f]{{8}}")
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - a folder may hold very many
            if pattern.fullmatch(name):
                with _unheld(folder / name) as free:
                    found += [folder / name] * free
    return found


def remove_abandoned(folder: Path, stem: str) -> None:
    """Remove the hidden files of a stem, and its folders with nothing but files, whose processes have ended."""
    for path in abandoned(folder, stem):
        with _unheld(path) as free, contextlib.suppress(OSError):
            if not free:
                continue
            if not path.is_dir():
                path.unlink()
            elif not any(entry.is_dir() for entry in path.iterdir()):  # as all that is written here
                shutil.rmtree(path)


@contextlib.contextmanager
def _unheld(path: Path) -> Iterator[bool]:
    """Say whether a hidden file or folder is of no living process, and keep it so during the block."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its process lives, or there are no locks
        free = False
    else:
        mode = os.fstat(descriptor).st_mode
        free = _is_at(descriptor, path) and (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    try:
        yield free
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Say whether an open file still has a name: its process may have put it into its place meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False
