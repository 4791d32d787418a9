"""Errors of the operating system as sentences with the path and the way out.

`explained` turns an `OSError`, a lack of memory, and the forms that libraries in other languages give them into the
error that a user sees. The command line passes every error through it, functions for Python callers are `@explaining`,
and `files` uses it where the path is known better. An error that it does not know is our bug and is not changed.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from glassgpt.errors import AccessError, DiskFullError, GlassGPTError, MemoryFullError, OfflineError

P = ParamSpec("P")
R = TypeVar("R")

FULL = (errno.ENOSPC, errno.EDQUOT)
# Variables that set a folder. A message names the variable when the path in question is inside that folder.
VARIABLES = (
    "GLASSGPT_RUNS",
    "GLASSGPT_CACHE",
    "TIKTOKEN_CACHE_DIR",
    "HF_HUB_CACHE",
    "HF_HOME",
    "XDG_CACHE_HOME",
    "TMPDIR",
)
_MEMORY = re.compile(
    r"out of memory|can(no|')t allocate memory|not enough memory|std::bad_alloc|ALLOC_FAILED|unable to mmap"
    r"|failed to map segment|can't start new thread|cannot allocate memory in static TLS",
    re.IGNORECASE,
)
_WAYS_OUT = {
    errno.EACCES: "cannot be used: there is no permission. Change its permissions, or choose another place.",
    errno.EPERM: "cannot be used: there is no permission. Change its permissions, or choose another place.",
    errno.EROFS: "cannot be written: its file system is read-only. Choose another place.",
    errno.ENAMETOOLONG: "is too long for a file name. Choose a shorter name.",
    errno.ENOENT: "is not there. Check the name, or put it back if it was moved.",
    errno.ENOTDIR: "cannot be used: there is a file where a folder is needed. Choose another place.",
    errno.EEXIST: "cannot be made: there is a file with that name. Choose another place.",
    errno.EISDIR: "is a folder, where a file is needed. Name a file.",
    errno.ELOOP: "is a link that leads to itself. Remove it, or choose another place.",
    errno.EFBIG: "may not grow any larger: the system limits the size of files (see `ulimit -f`). Raise that "
    "limit, or choose another disk.",
    errno.EMFILE: "could not be opened: too many files are open. Raise the limit with  ulimit -n 4096",
    errno.EIO: "could not be read or written: the disk reports an error. Check the disk, or use another.",
    errno.EINVAL: "cannot be used as a file. Choose another name.",
}


def explained(error: BaseException, path: Path | None = None) -> GlassGPTError | None:
    """Return the error to show a user for an error of the system, or None for any other kind of error.

    `path` is the file that was written or read, used where the error itself names none.
    """
    if isinstance(error, GlassGPTError | BrokenPipeError):
        return None
    number = _number(error)
    if isinstance(error, MemoryError) or number == errno.ENOMEM or _tells_full_memory(error):
        return MemoryFullError(
            "There is not enough memory for this. Ask for less (a smaller model, --training.batch-size or "
            "--model.context-length, shorter text), close other programs, or use a machine with more."
        )
    if number is None:
        return _without_number(error)
    where = _place(error, path)
    if number in FULL:
        return DiskFullError(
            f"The disk is full: {where or 'a file'} could not be written. What was saved before is still there. "
            "Free some space, then run the command again. To continue a run that had started:  glassgpt resume"
        )
    if where is None and not isinstance(error, OSError):
        return None
    reason = _WAYS_OUT.get(number, f"cannot be used: {os.strerror(number)}. Choose another place.")
    return AccessError(f"{where or 'A file'} {reason}{_variable(where)}")


def explaining(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function raise a `GlassGPTError` where the operating system refused something."""

    @functools.wraps(function)
    def explains(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            known = explained(error)
            if known is None:
                raise
            raise known from error

    return explains


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, ValueError) and "null byte" in str(error):
        return errno.EINVAL
    told = re.search(r"\(os error (\d+)\)", str(error))  # how libraries in Rust put it
    return int(told[1]) if told else None


def _tells_full_memory(error: BaseException) -> bool:
    of_others = (
        isinstance(error, RuntimeError | ImportError | OSError) or type(error).__name__ == "PanicException"
    )
    return of_others and bool(_MEMORY.search(str(error)))


def _without_number(error: BaseException) -> GlassGPTError | None:
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return AccessError(
            "There is no home folder for the `~` in a path, or none is known for this user. Write the whole path, or "
            "set HOME."
        )
    if isinstance(error, OSError) and type(error).__module__.partition(".")[0] in ("requests", "urllib3"):
        return OfflineError(f"The network could not be used: {error}. Try again when there is one.")
    if isinstance(error, OSError):
        return AccessError(
            f"A file could not be read or written: {error}. Choose another, or get a copy again."
        )
    return None


def _place(error: BaseException, path: Path | None) -> str | None:
    named = getattr(error, "filename", None)
    if isinstance(named, bytes):
        named = os.fsdecode(named)
    # A temporary file has a hidden name that the user never gave.
    if path is not None and (named is None or Path(str(named)).name.startswith(".")):
        named = path
    return _short(str(named)) if isinstance(named, str | os.PathLike) and str(named) else None


def _short(path: str, most: int = 200) -> str:
    return path if len(path) <= most else f"{path[: most // 2]}...{path[-most // 4 :]}"


def _variable(where: str | None) -> str:
    """Name the variable that a path comes from."""
    if where is None:
        return ""
    for name in VARIABLES:
        value = os.environ.get(name)
        if value and where.startswith(_short(value)[:100]):
            return f" It comes from the variable {name}: set that to a folder where you may read and write."
    return ""
