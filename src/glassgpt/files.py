"""Writing files so that a crash never leaves half a file, and checking later that nothing changed.

Every file is first written under a temporary name in the same folder, flushed to the disk, and then
renamed: a reader sees the old file or the new one, never a part. A directory of files is *sealed*:
`manifest.json`, written last, lists the hash of each file. Its presence means "complete", and a check
against it shows whether anything was altered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from glassgpt.commands import quoted
from glassgpt.errors import AccessError, CorpusError, OfflineError
from glassgpt.leftovers import TEMPORARY, alive, claimed, hidden, remove_abandoned, stem_of
from glassgpt.system import explained

MANIFEST = "manifest.json"
GIT_LFS = b"version https://git-lfs.github.com/spec/"
DOWNLOADING = re.compile(r"tmp[a-z0-9_]{8}")
"""Names that Python's `tempfile`, and so pooch, gives to unfinished downloads."""
ABANDONED_SECONDS = 600.0
"""A running download writes every few seconds: pooch gives up after half a minute of silence."""


@contextlib.contextmanager
def explain_writing(path: Path) -> Iterator[None]:
    """Turn an operating system error during a write of `path` into the `GlassGPTError` that explains it.

    A full disk becomes a `DiskFullError`. A missing permission and the like become an `AccessError`, and so does
    text that UTF-8 cannot encode.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        raise not_utf8(error) from error
    except Exception as error:
        known = explained(error, path)
        if known is None:
            raise
        raise known from error


def not_utf8(error: UnicodeEncodeError) -> AccessError:
    """Return the error that shows which name or text cannot be encoded, and which byte is wrong.

    Python keeps a byte of a name that is not UTF-8, such as one of Latin-1, as half a surrogate pair.
    """
    before, after = error.object[: error.start], error.object[error.start :]
    found = (re.split(r"[\n\"]", before)[-1] + re.split(r"[\n\"]", after)[0])[-200:]
    shown = found.encode("utf-8", "backslashreplace").decode()
    code = ord(error.object[error.start])
    what = f"the byte {code & 0xFF:#04x}" if 0xDC80 <= code <= 0xDCFF else f"half a character, U+{code:04X}"
    return AccessError(
        f"{shown} is not UTF-8: it holds {what}. Everything that a run records must be UTF-8. Rename the file or the "
        "folder of that name, or convert the text first."
    )


def as_utf8(text: str) -> str:
    """Return a text with each half of a surrogate pair as an escape, which JSON reads back as that half."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def flush_to_disk(path: Path) -> None:
    """Ask the operating system to put a file's or a directory's content on the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success rename it to `path`, on failure remove it.

    Text is UTF-8 with "\\n" line ends. Raises `DiskFullError` when the disk is full,
    `AccessError` when the place is not writable.
    """
    with explain_writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with claimed(path, lambda temporary: temporary.touch(exist_ok=False)) as temporary:
            try:
                with _open_to_write(temporary, mode) as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
                flush_to_disk(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
        remove_abandoned(path.parent, stem_of(path))


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of killed processes from a folder. The caller keeps other writers out."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if not TEMPORARY.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def shared_folder(folder: Path) -> Iterator[None]:
    """Write into a cache folder that several processes share; first remove what killed processes left there.

    All writers share its lock file. A process that gets the lock alone knows that no other process of this version
    is writing. It then removes temporary files that have not changed for `ABANDONED_SECONDS`. The age protects
    writers without a lock: earlier versions, or any process on a file system without locks. A folder that is not
    writable is left as it is: a write into it says why.
    """
    import fcntl

    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(open(folder / ".lock", "a"))
            if _is_alone(lock):
                _remove_abandoned(folder)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _is_alone(lock: IO[Any]) -> bool:
    """Lock a file if no other process holds it. Return whether we hold it, or True where there are no locks."""
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _remove_abandoned(folder: Path) -> None:
    newest = time.time() - ABANDONED_SECONDS
    for path in folder.iterdir():
        if not (TEMPORARY.fullmatch(path.name) or DOWNLOADING.fullmatch(path.name)):
            continue
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink() and path.stat().st_mtime < newest:
                path.unlink()


def _open_to_write(path: Path, mode: str) -> IO[Any]:
    if "b" in mode:
        return open(path, mode)
    return open(path, mode, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory; on success seal it and rename it to `path`.

    The directory holds files, not directories. It replaces a directory that is already at `path`; on
    failure nothing at `path` changes. Raises `DiskFullError` when the disk is full,
    `AccessError` when the place is not writable.
    """
    with explain_writing(path), temporary_folder(path) as temporary:
        yield temporary
        for file in temporary.iterdir():
            flush_to_disk(file)
        seal(temporary)
        _replace_directory(temporary, path)
        flush_to_disk(path.parent)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it is removed at the end unless it was renamed.

    On success, folders that killed processes left there are removed at the end, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with claimed(path, lambda temporary: temporary.mkdir()) as temporary:
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    remove_abandoned(path.parent, stem_of(path))


def _replace_directory(new: Path, path: Path) -> None:
    """Rename `new` to `path`. The old directory is first moved aside whole, and moved back on failure."""
    aside = hidden(path.parent, stem_of(path))
    with contextlib.ExitStack() as held:
        if path.exists():
            held.enter_context(alive(path))
            os.replace(path, aside)
        try:
            os.replace(new, path)
        except OSError:
            if aside.exists():
                os.replace(aside, path)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def seal(directory: Path, *, leave_out: Collection[str] = (), **facts: Any) -> None:
    """Write `manifest.json` last: the hash and size of every other file, and any `facts` to keep.

    Hidden files (left by a crash during a write) and those named in `leave_out` are not listed.
    """
    files = {
        file.name: {"sha256": hash_file(file), "bytes": file.stat().st_size}
        for file in sorted(directory.iterdir())
        if file.is_file() and not file.name.startswith(".") and file.name not in {MANIFEST, *leave_out}
    }
    write_json(directory / MANIFEST, {**facts, "files": files})


def broken_seal(directory: Path, *, hashes: bool = True) -> str | None:
    """Return what is wrong with a sealed directory in a few words, or None when it is intact.

    Without `hashes` only presence and sizes are checked, which is quick however large the files are.
    """
    if not (directory / MANIFEST).is_file():
        return "it was never finished"
    try:
        files = read_json(directory / MANIFEST)["files"]
        expected = {name: (facts["bytes"], facts["sha256"]) for name, facts in files.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return f"its {MANIFEST} cannot be read"
    for name, (size, sha256) in expected.items():
        file = directory / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes instead of {size}"
        if hashes and hash_file(file) != sha256:
            return f"{name} was altered"
    return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` during the block, after waiting for any other process that holds it.

    The system releases it when the process ends, however it ends. On a file system without locks nothing
    is held.
    """
    import fcntl

    with open(path, "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented for people. Every string is read back exactly as it was."""
    write_text(path, as_utf8(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


def read_json(path: Path) -> Any:
    """Read a UTF-8 JSON file. Raises `ValueError` when it is not JSON, or only a Git LFS pointer to the file."""
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(git_lfs_pointer(path) or str(error)) from error


def git_lfs_pointer(path: Path) -> str:
    """Return the message for a file that is only a Git LFS pointer to the real one, or "" for any other file."""
    if not path.is_file() or path.stat().st_size >= 1024:  # the format's limit
        return ""
    with open(path, "rb") as file:
        if file.read(len(GIT_LFS)) != GIT_LFS:
            return ""
    folder = quoted(str(path.absolute().parent))
    return (
        f"{path} is only a Git LFS pointer: the file itself was not fetched. Fetch it with:  "
        f"cd {folder} && git lfs pull"
    )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits, in constant memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def cache_dir() -> Path:
    """Return the folder for downloads and prepared data: `$GLASSGPT_CACHE`, or the user's cache folder."""
    import pooch

    return Path(os.environ.get("GLASSGPT_CACHE") or pooch.os_cache("glassgpt"))


def download(url: str, *, sha256: str, name: str) -> Path:
    """Return the cached file `name`, downloading it from `url` first if it is not there.

    The file's SHA-256 is checked whether it was downloaded or put there by hand.
    Raises `OfflineError` when the URL cannot be reached, saying which file to put where, and `CorpusError`
    when the file is not the expected one.
    """
    import logging

    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    target = cache_dir() / "downloads" / name
    if target.is_file() and hash_file(target) != sha256:
        raise CorpusError(
            f"{target} is not the file that was expected (its SHA-256 differs). "
            "Delete it to have it downloaded again, or replace it with the original."
        )
    with shared_folder(target.parent), explain_writing(target):
        try:
            pooch.retrieve(url, known_hash=f"sha256:{sha256}", path=target.parent, fname=name)
        except requests.RequestException as error:
            raise OfflineError(
                f"{url} could not be reached. Without a network, get that file elsewhere and put it at "
                f"{target}  (SHA-256 {sha256[:16]}…), or use a file of your own or `builtin:tinytales`."
            ) from error
        except ValueError as error:
            raise CorpusError(f"What {url} sent is not the file that was expected: {error}") from error
    return target
