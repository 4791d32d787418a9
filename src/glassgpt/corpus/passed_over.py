"""What in a folder of texts is not a text: whatever GlassGPT made, virtual environments, caches.

Such a thing is recognised by its marker files, never by a name: a folder called `runs` may hold texts, and a run may
lie anywhere. So a folder gives the same text before and after a training has left its run in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

RUN, PREPARED, MODEL = "run directory", "folder of prepared data", "model folder"
OURS = (RUN, PREPARED)
"""Kinds of folder that never hold texts, so that naming one is a mistake."""
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""The beginning of `CACHEDIR.TAG` (bford.info/cachedir)."""
WEIGHTS = ("*.safetensors", "*.gguf", "*.onnx")
MADE_FILES = {
    "vocabulary": re.compile(rb'\s*\{\s*"version"\s*:\s*"[^"]*"\s*,\s*"truncation"\s*:'),
    "evaluation": re.compile(rb'\s*\{\s*"run"\s*:\s*"[^"]*"\s*,\s*"loss"\s*:'),
}
"""How the JSON files begin that GlassGPT writes wherever a command asks for them."""


def kind_of_folder(folder: Path) -> str | None:
    """Return what a folder is, by its marker files, or None if it may hold texts."""
    holds = lambda *names: any((folder / name).exists() for name in names)  # noqa: E731
    if holds("config.toml") and holds("lineage.json", "metrics.jsonl", "checkpoints", "tokenizer.json"):
        return RUN
    if _is_prepared(folder):
        return PREPARED
    if holds("pyvenv.cfg", "conda-meta"):
        return "virtual environment"
    if holds("CACHEDIR.TAG") and _begins(folder / "CACHEDIR.TAG").startswith(CACHE_SIGNATURE):
        return "cache"
    if holds("config.json", "tokenizer.json") and any(any(folder.glob(kind)) for kind in WEIGHTS):
        return MODEL
    return None


def _is_prepared(folder: Path) -> bool:
    manifest = folder / "manifest.json"
    if not manifest.is_file() or not (folder / "tokenizer.json").is_file():
        return (folder / "groups.jsonl").is_file() and (folder / ".lock").is_file()
    return {b'"plan"', b'"splits"'} <= set(re.findall(rb'"\w+"', manifest.read_bytes()))


def is_made(path: Path) -> bool:
    """Return whether a file or folder is passed over, or everything in the folder is (as in `runs`)."""
    if not path.is_dir():
        return kind_of_file(path) is not None
    if kind_of_folder(path):
        return True
    kinds = {kind for _, kind in walk(path)}
    return bool(kinds) and None not in kinds


def kind_of_file(path: Path) -> str | None:
    """Return what a file is if GlassGPT or a tokenizer library wrote it, or None."""
    if path.suffix.lower() != ".json":
        return None
    begin = _begins(path)
    return next((kind for kind, pattern in MADE_FILES.items() if pattern.match(begin)), None)


def walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield the files below a folder, sorted, and in their place among them what is passed over, with its kind.

    Hidden files and folders are not yielded, and folders that are links are not entered.
    """
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            kind = kind_of_folder(path)
            if kind:
                yield path, kind
            else:
                yield from walk(path)
        elif path.is_file():
            yield path, kind_of_file(path)


def is_below_made(path: Path, root: Path) -> bool:
    """Return whether a path is passed over, or a folder that holds it below `root` is."""
    between = [folder for folder in path.parents if folder != root and root in folder.parents]
    return any(map(kind_of_folder, between)) or is_made(path)


def _begins(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(400)
    except OSError:
        return b""
