"""The claim on a run: one process at a time may write to it, and it says who it is. Reading needs no claim.

The lock is the system's own (flock) on `.lock` in the run's folder, so it is free when its process ends, however that
happens. The file also names the process. Where a file system has no locks, this name decides: the named process holds
the claim as long as it lives. Nothing is removed while another process may need it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from glassgpt import files
from glassgpt.commands import command
from glassgpt.errors import DiskFullError, GlassGPTError, RunError
from glassgpt.leftovers import TEMPORARY
from glassgpt.runs.directory import LOCK, RunDirectory
from glassgpt.training.events import Event

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@dataclass(frozen=True)
class Holder:
    """The process that writes to a run."""

    pid: int
    host: str
    command: str
    since: str

    def __str__(self) -> str:
        return f"`{self.command}`, process {self.pid} on {self.host}, since {self.since}"


@dataclass
class Claim:
    """The right to write to a run, as long as this process holds it."""

    run: RunDirectory
    descriptor: int

    def check(self, _event: Event | None = None) -> None:
        """Raise `RunError` when the folder was deleted: further writing would create an incomplete one."""
        if not _is_file_of(self.descriptor, self.run.path / LOCK):
            raise RunError(
                f"The folder {self.run.path} was deleted or moved while the run was written, so the run ends here. "
                "What was in it cannot be saved."
            )

    def let_go(self) -> None:
        """Release the claim."""
        with contextlib.suppress(OSError):
            if _is_file_of(self.descriptor, self.run.path / LOCK):
                (self.run.path / LOCK).unlink()  # a waiting process notices that the file was replaced
        os.close(self.descriptor)


@contextlib.contextmanager
def writing(run: RunDirectory) -> Iterator[Claim]:
    """Hold the right to write to a run; first remove what a killed process left half written there.

    Raises `RunError` when another process holds it, or when the folder is deleted during the block.
    """
    with held(take(run)) as claim:
        clear_leftovers(run)
        yield claim


@contextlib.contextmanager
def held(claim: Claim) -> Iterator[Claim]:
    """Release a claim at the end, and say how to continue when the disk is full."""
    try:
        yield claim
    except (OSError, GlassGPTError) as error:
        if not isinstance(error, RunError):
            claim.check()
        if isinstance(error, DiskFullError):
            raise DiskFullError(
                f"{str(error).partition(' Free some space')[0]} Free some space, then resume with:  "
                f"{command('resume', claim.run.handle)}"
            ) from error
        raise
    finally:
        claim.let_go()


def take(run: RunDirectory) -> Claim:
    """Return the right to write to a run. Raises `RunError` when another process has it."""
    path = run.path / LOCK
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"{run.path} cannot be written: {error.strerror}.") from error
        try:
            _take(descriptor, run)
        except BaseException:
            os.close(descriptor)
            raise
        if _is_file_of(descriptor, path):
            _say_who(descriptor)
            return Claim(run, descriptor)
        os.close(descriptor)  # its holder has just released and removed it


def clear_leftovers(run: RunDirectory) -> None:
    """Remove files and folders that a killed process left half written. The caller holds the claim.

    A complete folder that was about to be renamed is put in its place instead, if that is empty.
    """
    for folder in (run.path, run.checkpoints):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if not TEMPORARY.fullmatch(path.name):
                continue
            target = path.with_name(path.name[1:-9])
            if path.is_dir() and not target.exists() and files.broken_seal(path) is None:
                os.replace(path, target)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _take(descriptor: int, run: RunDirectory) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _taken(run, _read_holder(descriptor)) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise RunError(f"{run.path / LOCK} cannot be locked: {error.strerror}.") from error
        holder = _read_holder(descriptor)
        if holder is not None and _may_live(holder):
            raise _taken(run, holder, sure=False) from error


def _taken(run: RunDirectory, holder: Holder | None, *, sure: bool = True) -> RunError:
    who = f"another process ({holder or 'it has not said which'})"
    if not sure:
        who += f". If that process is over, delete {run.path / LOCK}"
    return RunError(
        f"{run.name} is being written by {who}. Wait until it has ended, or stop it; to read the run (generate, "
        "eval, runs) you need not wait."
    )


def _say_who(descriptor: int) -> None:
    words = files.as_utf8(shlex.join(["glassgpt", *sys.argv[1:]]))
    holder = Holder(os.getpid(), socket.gethostname(), words, time.strftime("%Y-%m-%d %H:%M:%S"))
    with contextlib.suppress(OSError):  # a full disk: the lock works without the text
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(holder), 0)


def _read_holder(descriptor: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 1 << 16, 0), type=Holder)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def _may_live(holder: Holder) -> bool:
    """Return whether the process of a holder may be alive: on another machine this is unknown."""
    if holder.host != socket.gethostname():
        return True
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return holder.pid != os.getpid()


def _is_file_of(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
