"""A file or folder that is being written has a hidden name until it is complete, and a lock while its process runs.

A process that is killed leaves the hidden file or folder behind. The next writer to the same place finds it by its
name. The system releases the lock however a process ends, so a free lock shows that the leftover can be removed.
On a file system without locks nothing is removed.
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
"""Names of files and folders that are being written and were not renamed into place yet."""


def stem_of(path: Path) -> str:
    """Return the beginning of the hidden names for a path: as much of its name as any file system allows."""
    return path.name[:48]


def hidden(folder: Path, stem: str) -> Path:
    """Return a new hidden name in a folder."""
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
            os.close(descriptor)  # another process removed it as abandoned before we had the lock
    try:
        yield temporary
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alive(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder during the block, even if it is renamed."""
    descriptor = _locked(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Open a file or folder and lock it, where there are locks, until the descriptor is closed."""
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
    """Remove the hidden files of a stem whose processes have ended, and its hidden folders that hold only files."""
    for path in abandoned(folder, stem):
        with _unheld(path) as free, contextlib.suppress(OSError):
            if not free:
                continue
            if not path.is_dir():
                path.unlink()
            elif not any(entry.is_dir() for entry in path.iterdir()):  # folders written here hold only files
                shutil.rmtree(path)


@contextlib.contextmanager
def _unheld(path: Path) -> Iterator[bool]:
    """Yield whether no running process holds a hidden file or folder, and hold it during the block."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its process is running, or there are no locks
        free = False
    else:
        mode = os.fstat(descriptor).st_mode
        free = _is_at(descriptor, path) and (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    try:
        yield free
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still at this path: its process may have renamed it into place by now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False
