"""Checkpoints: written completely or not at all, and verified before they are used.

    checkpoints/step-00000400/
      model.safetensors  optimizer.safetensors  random.safetensors  state.json  manifest.json

The manifest is written last and holds the hash of each file. When a checkpoint is incomplete, truncated or altered, a
message says so and the one before it is used. The newest few and the best are kept. The weights of some steps, without
the rest, can be kept for good beside them:

    snapshots/
      step-00000400.safetensors
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from glassgpt import files
from glassgpt.errors import CheckpointError, ModelError
from glassgpt.training.state import STATE_VERSION, Progress, TrainerState, restore

TENSORS = ("model", "optimizer", "random")


@dataclass(frozen=True)
class CheckpointFacts:
    """All of `state.json`."""

    progress: Progress
    plain: dict[str, Any] = field(default_factory=dict)
    best: bool = False
    version: int = 1


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run; the `keep` newest ones and the best stay.

    The weights of a step stay in `snapshots` for good where `keeps_weights_of(step, steps of the training)` says so.
    """

    folder: Path
    keep: int = 2
    snapshots: Path | None = None
    keeps_weights_of: Callable[[int, int], bool] = lambda _step, _steps: False

    def save(self, state: TrainerState, best: bool = False) -> Path:
        """Write a checkpoint of `state`, then remove those that are no longer needed.

        Later ones are removed too: they were skipped as broken, and their steps are trained again.
        Raises `DiskFullError` when the disk is full; every older checkpoint is untouched then.
        """
        path = self.folder / f"step-{state.progress.step:08d}"
        if _is_whole(path):
            self._keep_weights(path, state.progress)
            return path  # the same step of the same run is the same checkpoint
        with files.atomic_directory(path) as temporary:
            for name in TENSORS:
                _save_tensors(getattr(state, name), temporary / f"{name}.safetensors")
            files.write_json(
                temporary / "state.json",
                {
                    "version": state.version,
                    "progress": dataclasses.asdict(state.progress),
                    "plain": state.plain,
                    "best": best,
                },
            )
        self._keep_weights(path, state.progress)
        self._prune(path)
        return path

    def steps(self) -> list[Path]:
        """Return the folders of all checkpoints, oldest first. Raises `CheckpointError` when they cannot be listed."""
        try:
            found = list(self.folder.iterdir())
        except FileNotFoundError:
            if self.folder.is_symlink():
                raise CheckpointError(
                    f"{self.folder} is a link to {os.readlink(self.folder)}, which does not exist. Is the disk "  # noqa: PTH115
                    "that holds it connected?"
                ) from None
            return []
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be read: {error.strerror}.") from error
        return sorted(path for path in found if re.fullmatch(r"step-\d+", path.name) and path.is_dir())

    def load_newest(self, say: Callable[[str], None] = lambda _: None) -> TrainerState | None:
        """Return the newest whole checkpoint, or None when there are no checkpoints.

        `say` gets the name of each one that is skipped. Raises `CheckpointError` when there are checkpoints and none
        is whole.
        """
        paths = self.steps()
        for path in reversed(paths):
            trouble = files.broken_seal(path)
            if trouble is None:
                try:
                    return load_checkpoint(path)
                except CheckpointError as error:
                    trouble = str(error)
            say(f"The checkpoint {path.name} cannot be used ({trouble}): trying the one before it.")
        if paths:
            raise CheckpointError(
                f"None of the checkpoints in {self.folder} is whole. If you have a copy of one of these folders, put "
                "it back; otherwise train a new run under another --name."
            )
        return None

    def best(self) -> Path | None:
        """Return the folder of the checkpoint with the lowest validation loss, or None if missing or not whole."""
        path = _marked_best(self.steps())
        return path if path and files.broken_seal(path) is None else None

    def best_step(self) -> int:
        """Return the step of the checkpoint with the lowest validation loss, or -1."""
        path = _marked_best(self.steps())
        return int(path.name.removeprefix("step-")) if path else -1

    def newest(self) -> Path | None:
        """Return the folder of the newest whole checkpoint, or None."""
        return next((path for path in reversed(self.steps()) if files.broken_seal(path) is None), None)

    def _keep_weights(self, path: Path, progress: Progress) -> None:
        """Keep the weights of a checkpoint for good, if those of its step are wanted."""
        if self.snapshots is None or not self.keeps_weights_of(progress.step, progress.steps):
            return
        kept = self.snapshots / f"{path.name}.safetensors"
        with open(path / "model.safetensors", "rb") as weights, files.atomic_write(kept, "wb") as copy:
            shutil.copyfileobj(weights, copy)

    def _prune(self, newest: Path) -> None:
        until = [path for path in self.steps() if path <= newest]
        kept = {*until[-self.keep :], _marked_best(until)}
        for path in self.steps():
            if path not in kept:
                shutil.rmtree(path)


def load_checkpoint(path: Path) -> TrainerState:
    """Read a checkpoint whose seal has been checked. Raises `CheckpointError` when its content is not valid."""
    state = read_state(path)
    return TrainerState(
        progress=state.progress,
        plain=state.plain,
        version=state.version,
        **{name: read_tensors(path / f"{name}.safetensors") for name in TENSORS},
    )


def put_back(state: TrainerState, model: nn.Module, optimizer: Optimizer, folder: Path) -> Progress:
    """Restore a checkpoint of `folder` into a model and its optimizer; return its progress.

    Raises `CheckpointError` when its tensors do not fit: the checkpoint or the settings belong to another run.
    """
    try:
        return restore(state, model, optimizer)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
        ModelError,
    ) as error:
        raise CheckpointError(
            f"The checkpoint of step {state.progress.step} in {folder} does not fit the model of this run: "
            f"{str(error).splitlines()[-1].strip()} Its config.toml was changed, or the checkpoint belongs to another "
            "run: put the original back."
        ) from error


def read_state(path: Path) -> CheckpointFacts:
    """Read the `state.json` of a checkpoint. Raises `CheckpointError` when it does not have the expected fields."""
    try:
        values = files.read_json(path / "state.json")
        facts = msgspec.convert(values, CheckpointFacts)
        unknown = values["progress"].keys() - {known.name for known in dataclasses.fields(Progress)}
        if unknown:  # what it means for training is unknown here
            raise ValueError(f"a newer version of GlassGPT wrote it, with {min(unknown)!r}")
        if not 1 <= facts.version <= STATE_VERSION:
            raise ValueError(f"a newer version of GlassGPT wrote it, in format {facts.version}")
        return facts
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path / 'state.json'} cannot be read: {error}") from error


def read_tensors(path: Path, *, cure: str = "Put the original back.") -> dict[str, Tensor]:
    """Read a safetensors file. Raises `CheckpointError`, with the `cure`, when it is truncated or of another kind.

    Raises `AccessError` for a path that is not UTF-8, because the library cannot open it.
    """
    try:
        str(path).encode()
        return load_file(path)
    except UnicodeEncodeError as error:
        raise files.not_utf8(error) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            files.git_lfs_pointer(path)
            or f"{path} cannot be read as weights ({error}). It is truncated or not a safetensors file. {cure}"
        ) from error


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def _is_whole(path: Path) -> bool:
    """Return whether training can continue from a checkpoint. Damaged files may have been sealed, too."""
    if not path.is_dir() or files.broken_seal(path) is not None:
        return False
    try:
        load_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _marked_best(paths: list[Path]) -> Path | None:
    return next((path for path in reversed(paths) if _is_best(path)), None)


def _is_best(path: Path) -> bool:
    try:
        return read_state(path).best
    except CheckpointError:
        return False
