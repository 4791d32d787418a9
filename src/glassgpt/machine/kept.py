"""Stored measurements: one file for each machine and version of torch, in the cache.

Only measurements with a clear result on a quiet machine are stored. A file that cannot be read, or was written by
another version, counts as empty: the machine is measured again. Deleting the file is always safe. A result that
holds only for now, because the machine is busy, is remembered by this process for two minutes, so that a plan and
the training after it measure once.
"""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path

import msgspec

from glassgpt import files
from glassgpt.errors import GlassGPTError
from glassgpt.machine.facts import machine_facts

MEASURE = "GLASSGPT_MEASURE"
VERSION = 1
FOR_NOW_SECONDS = 120.0

_for_now: dict[str, tuple[float, str]] = {}


class Kept(msgspec.Struct, frozen=True):
    """One answer: the choice, the figures behind it, and when they were measured."""

    choice: str
    figures: dict[str, float]
    measured: str


class _File(msgspec.Struct):
    version: int
    answers: dict[str, Kept]


def kept_file() -> Path:
    """Return the file with this machine's measurements."""
    return files.cache_dir() / "machine" / f"{machine_facts().fingerprint}.json"


def all_kept() -> dict[str, Kept]:
    """Return every measurement of this machine by its question; empty if none is stored or readable."""
    try:
        found = msgspec.json.decode(kept_file().read_bytes(), type=_File)
    except (OSError, ValueError, msgspec.MsgspecError):
        return {}
    return found.answers if found.version == VERSION else {}


def measuring_is_off() -> bool:
    """Return whether the user wants no choice to depend on a measurement: GLASSGPT_MEASURE=off."""
    return os.environ.get(MEASURE) == "off"


def recall(question: str) -> Kept | None:
    """Return the stored answer to a question, or None."""
    return all_kept().get(question)


def keep(question: str, choice: str, **figures: float) -> None:
    """Store an answer. If the cache is not writable, the next run measures again; nothing else is lost."""
    answer = Kept(choice, figures, datetime.datetime.now().isoformat(timespec="seconds"))
    content = msgspec.to_builtins(_File(VERSION, {**all_kept(), question: answer}))
    try:
        with files.shared_folder(kept_file().parent):
            files.write_json(kept_file(), content)
    except (OSError, GlassGPTError):
        return


def forget() -> None:
    """Drop every measurement of this machine, so that the next choice measures again."""
    _for_now.clear()
    try:
        kept_file().unlink(missing_ok=True)
    except OSError:
        return


def note_for_now(question: str, choice: str) -> None:
    """Remember an answer in this process alone, for a short time."""
    _for_now[question] = (time.monotonic(), choice)


def recall_for_now(question: str) -> str | None:
    """Return an answer that this process found recently, or None."""
    found = _for_now.get(question)
    return found[1] if found and time.monotonic() - found[0] < FOR_NOW_SECONDS else None
