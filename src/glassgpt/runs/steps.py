"""The weights that a run had at earlier steps: those kept for good, and those of its checkpoints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from glassgpt import files
from glassgpt.runs.checkpoints import CheckpointStore
from glassgpt.runs.directory import RunDirectory


@dataclass(frozen=True, order=True)
class Step:
    """A step of a training, and the file with the weights before its update."""

    step: int
    path: Path


def steps_of(directory: RunDirectory) -> list[Step]:
    """Return the steps whose weights can be opened, in order: a kept file, or else a checkpoint that is whole."""
    found = {
        _step(path.name): path / "model.safetensors"
        for path in CheckpointStore(directory.checkpoints).steps()
        if files.broken_seal(path, hashes=False) is None
    }
    for path in directory.snapshots.glob("step-*.safetensors"):
        if re.fullmatch(r"step-\d+\.safetensors", path.name):
            found[_step(path.name)] = path
    return sorted(Step(step, path) for step, path in found.items())


def _step(name: str) -> int:
    return int(name.removeprefix("step-").removesuffix(".safetensors"))
