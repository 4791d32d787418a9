"""The environment: libraries, hubs, the cache, and the folders that runs are written to."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from glassgpt import files
from glassgpt.machine.facts import free_memory, total_memory
from glassgpt.runs.directory import runs_folder

HUBS = {
    "Hugging Face": "https://huggingface.co",
    "tiktoken's files": "https://openaipublic.blob.core.windows.net",
}
HUB_SECONDS = 3.0
HIDDEN_EXTRAS = ("test",)


@dataclass(frozen=True)
class Extra:
    """An optional set of libraries: the versions of those that are installed, and those that are missing."""

    name: str
    present: dict[str, str]
    missing: tuple[str, ...]

    @property
    def install(self) -> str:
        """The line that installs what is missing, or ""."""
        return f"pip install 'glassgpt[{self.name}]'" if self.missing else ""


@dataclass(frozen=True)
class Space:
    """Memory and disk, in bytes."""

    memory: int
    free_memory: int
    disk: int
    free_disk: int


def space() -> Space:
    """Return the memory, and the disk that runs are written to."""
    import torch

    folder = runs_folder().expanduser().absolute()
    while not folder.is_dir():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return Space(total_memory(), free_memory(torch.device("cpu")), usage.total, usage.free)


def core_versions() -> dict[str, str]:
    """Return the versions of the libraries that GlassGPT always needs; "missing" for one that is not installed."""
    return {name: _version(name) or "missing" for name in _required("")}


def extras() -> list[Extra]:
    """Return each optional set of libraries."""
    names = metadata.metadata("glassgpt").get_all("Provides-Extra") or []
    found = []
    for name in (name for name in names if name not in HIDDEN_EXTRAS):
        versions = {library: _version(library) for library in _required(name)}
        present = {library: version for library, version in versions.items() if version}
        found.append(Extra(name, present, tuple(library for library in versions if library not in present)))
    return found


def _required(extra: str) -> list[str]:
    """Return the names of the libraries that GlassGPT needs for an extra, or always for ""."""
    wanted = []
    for line in metadata.requires("glassgpt") or []:
        requirement, _, marker = line.partition(";")
        of = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", marker)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and (of.group(1) if of else "") == extra:
            wanted.append(name.group())
    return wanted


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def reachable() -> dict[str, bool]:
    """Return which hubs answer within a few seconds. Any answer counts, even a refusal."""
    import requests

    found = {}
    for name, address in HUBS.items():
        try:
            requests.head(address, timeout=HUB_SECONDS, allow_redirects=False)
            found[name] = True
        except requests.RequestException:
            found[name] = False
    return found


def damaged_caches() -> list[str]:
    """Return a sentence for each unusable part of the cache, with the way out."""
    prepared = files.cache_dir() / "prepared"
    troubles = []
    for folder in sorted(path for path in _entries(prepared) if path.is_dir()):
        if not (folder / files.MANIFEST).is_file():
            continue  # still being prepared, or interrupted: the next training continues it
        if trouble := files.broken_seal(folder, hashes=True):
            troubles.append(f"{folder} is damaged ({trouble}). Delete it: it is made again when needed.")
    return troubles


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
