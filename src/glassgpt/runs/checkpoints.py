"""Checkpoints: written whole or not at all, verified before they are believed.

    checkpoints/step-00000400/
      model.safetensors  optimizer.safetensors  random.safetensors  state.json  manifest.json

The manifest, written last, holds the hash of each file. A checkpoint that is incomplete, truncated or
altered is passed over for the one before it, and that is said. The newest few and the best are kept.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassgpt import files
from glassgpt.errors import CheckpointError
from glassgpt.training.state import Progress, TrainerState

TENSORS = ("model", "optimizer", "random")


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run; `keep` newest ones stay, and the best."""

    folder: Path
    keep: int = 2

    def save(self, state: TrainerState, best: bool = False) -> Path:
        """Write a checkpoint of `state`, then remove those that need not be kept.

        Later ones are removed too: they were passed over as broken, and what they held is told anew.
        Raises `DiskFullError` when the disk is full; every older checkpoint is untouched then.
        """
        path = self.folder / f"step-{state.progress.step:08d}"
        if path.is_dir() and files.broken_seal(path) is None:
            return path  # the same step of the same run is the same checkpoint
        self._clear_leftovers()
        with files.atomic_directory(path) as temporary:
            for name in TENSORS:
                _save_tensors(getattr(state, name), temporary / f"{name}.safetensors")
            files.write_json(
                temporary / "state.json",
                {"progress": dataclasses.asdict(state.progress), "plain": state.plain, "best": best},
            )
        self._prune(path)
        return path

    def steps(self) -> list[Path]:
        """Return the folders of all checkpoints, the oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name))

    def load_newest(self, say: Callable[[str], None] = lambda _: None) -> TrainerState | None:
        """Return the newest whole checkpoint, or None when there is none at all.

        Each one that has to be passed over is named to `say`. Raises `CheckpointError` when there are
        checkpoints and none is whole.
        """
        paths = self.steps()
        for path in reversed(paths):
            trouble = files.broken_seal(path)
            if trouble is None:
                return load_checkpoint(path)
            say(f"The checkpoint {path.name} cannot be used ({trouble}): trying the one before it.")
        if paths:
            raise CheckpointError(
                f"None of the checkpoints in {self.folder} is whole. Start the training anew under another --name; "
                "if you have a copy of one of these folders, put it back."
            )
        return None

    def best(self) -> Path | None:
        """Return the folder of the checkpoint with the lowest validation loss, or None if none is, or not whole."""
        path = _marked_best(self.steps())
        return path if path and files.broken_seal(path) is None else None

    def best_step(self) -> int:
        """Return the step of the checkpoint with the lowest validation loss, or -1."""
        path = _marked_best(self.steps())
        return int(path.name.removeprefix("step-")) if path else -1

    def newest(self) -> Path | None:
        """Return the folder of the newest whole checkpoint, or None."""
        return next((path for path in reversed(self.steps()) if files.broken_seal(path) is None), None)

    def _prune(self, newest: Path) -> None:
        until = [path for path in self.steps() if path <= newest]
        kept = {*until[-self.keep :], _marked_best(until)}
        for path in self.steps():
            if path not in kept:
                shutil.rmtree(path)

    def _clear_leftovers(self) -> None:
        """Remove what a crash left half done. Only the one who saves may: another's half may be at work."""
        for leftover in self.folder.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)


def load_checkpoint(path: Path) -> TrainerState:
    """Read a checkpoint whose seal has been checked."""
    facts = files.read_json(path / "state.json")
    return TrainerState(
        progress=Progress(**facts["progress"]),
        plain=facts["plain"],
        **{name: read_tensors(path / f"{name}.safetensors") for name in TENSORS},
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises `CheckpointError` when it is truncated or of another kind."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights ({error}). It is truncated or not a safetensors file; "
            "`glassgpt resume` on its run writes it anew from the checkpoints."
        ) from error


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def _marked_best(paths: list[Path]) -> Path | None:
    return next((path for path in reversed(paths) if _is_best(path)), None)


def _is_best(path: Path) -> bool:
    try:
        return files.read_json(path / "state.json")["best"]
    except (OSError, ValueError, KeyError):
        return False
