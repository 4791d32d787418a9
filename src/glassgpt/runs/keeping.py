"""Keeping order among runs: notes, other names, runs put away and brought back, space made free.

A run that another process is writing is never touched: each change holds the run's claim (see `claim`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from glassgpt import files
from glassgpt.errors import RunError, did_you_mean
from glassgpt.runs.claim import held, take
from glassgpt.runs.directory import RunDirectory, is_same, list_runs, normal, refuse_taken, runs_folder
from glassgpt.runs.reading import readable_lineage
from glassgpt.runs.summary import size_of, summarize

OVER = ("finished", "no improvement")
"""States of a run whose training ended by itself."""


def write_note(run: RunDirectory, text: str) -> None:
    """Note something about a run; an empty text removes the note."""
    if text.strip():
        files.write_text(run.note, text.strip() + "\n")
    else:
        run.note.unlink(missing_ok=True)


def rename(run: RunDirectory, name: str) -> RunDirectory:
    """Give a run another name. Raises `RunError` when that is taken, or another process writes to the run."""
    _refuse_elsewhere(run)
    refuse_taken(name)
    return _moved(run, runs_folder() / normal(name))


def put_away(run: RunDirectory) -> Path:
    """Move a run to the folder of removed runs; return its new path."""
    _refuse_elsewhere(run)
    folder, number, name = removed_folder(), 1, run.path.name
    while os.path.lexists(folder / name):
        number += 1
        name = f"{run.path.name}-{number}"
    folder.mkdir(exist_ok=True)
    return _moved(run, folder / name).path


def bring_back(name: str) -> RunDirectory:
    """Move a removed run back to the others. Raises `RunError` when none has this name, or it is taken."""
    folder = removed_folder()
    there = removed()
    if name not in there:
        hint = did_you_mean(name, there) or (
            f" Removed: {', '.join(there)}." if there else " No run was removed."
        )
        raise RunError(f"There is no removed run called {name!r} in {folder}.{hint}")
    refuse_taken(name)
    return _moved(RunDirectory(folder / name), runs_folder() / name)


def removed_folder() -> Path:
    """Return the folder that removed runs are moved to."""
    return runs_folder() / ".removed"


def removed() -> list[str]:
    """Return the names of the removed runs."""
    try:
        return sorted(path.name for path in removed_folder().iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def made_from(run: RunDirectory) -> list[tuple[RunDirectory, bool]]:
    """Return the runs that were fine-tuned from a run, and whether each needs it to open, as an adapter does."""
    own, found = readable_lineage(run), []
    weights = own.weights_hash if own else None
    for other in list_runs():
        lineage = readable_lineage(other)
        if lineage is None or lineage.base is None:
            continue
        same_weights = weights is not None and lineage.base.weights == weights
        if same_weights or is_same(Path(lineage.base.path), run.path):
            found.append((other, lineage.adapter is not None))
    return found


def is_unfinished(run: RunDirectory, state: str) -> bool:
    """Return whether a run in this state can be resumed: it was stopped or killed, also after its last step."""
    if state in ("unfinished", "interrupted"):
        return True
    lineage = readable_lineage(run)
    return state in OVER and lineage is not None and lineage.weights is None


@dataclass(frozen=True)
class Pruned:
    """What became of the checkpoints of a run: the bytes that are free now, or the reason why they stay."""

    run: RunDirectory
    bytes: int = 0
    kept: str = ""


def prune(run: RunDirectory) -> Pruned:
    """Remove the checkpoints of a finished run whose weights are whole. It can be used as before, but not resumed."""
    size = size_of(run.checkpoints)
    state = summarize(run).state
    if state not in OVER:
        return Pruned(run, kept=f"it is {state}")
    if size == 0:
        return Pruned(run)
    try:
        with held(take(run)):
            trouble = _broken(run)
            if trouble:
                return Pruned(run, kept=trouble)
            shutil.rmtree(run.checkpoints)
    except RunError as error:
        return Pruned(run, kept=str(error).partition(". ")[0])
    return Pruned(run, bytes=size)


def _broken(run: RunDirectory) -> str:
    """Return why the final weights of a run cannot replace its checkpoints, or "" where they can."""
    lineage = readable_lineage(run)
    if run.adapter.is_dir():
        return files.broken_seal(run.adapter) or ""
    if lineage is None or lineage.weights_hash is None or not run.weights.is_file():
        return "it has no final weights"
    if files.hash_file(run.weights) != lineage.weights_hash:
        return f"{run.weights.name} was truncated or altered"
    return ""


def _moved(run: RunDirectory, path: Path) -> RunDirectory:
    with held(take(run)) as claim, files.explain_writing(path):
        os.rename(run.path, path)  # noqa: PTH104 - onto a folder that is not empty it fails
        claim.run = RunDirectory(path)
        files.flush_to_disk(path.parent)
    return RunDirectory(path)


def _refuse_elsewhere(run: RunDirectory) -> None:
    if not is_same(run.path.parent, runs_folder()):
        raise RunError(
            f"{run.path} is not in {runs_folder()}. Only runs in that folder are renamed or removed by their names; "
            "move any other folder yourself."
        )
