"""What a training holds while it works: the claim on its run, and the checkpoint that it continues from.

The same for pretraining and for every kind of fine-tuning.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from glassgpt.device import World
from glassgpt.errors import RunError
from glassgpt.runs.checkpoints import CheckpointStore, put_back
from glassgpt.runs.claim import Claim
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.reading import repeating
from glassgpt.runs.records import MetricsFile, Reached, refuse_other_metrics
from glassgpt.training import distributed
from glassgpt.training.state import Progress, TrainerState


@contextlib.contextmanager
def on_all_ranks(
    claimed: Callable[[], contextlib.AbstractContextManager[Claim]], world: World
) -> Iterator[Claim]:
    """Hold a claim on the main process during the block; the other ranks get an empty one."""
    with contextlib.ExitStack() as stack:
        mine: list[Claim] = []

        def claim() -> str:
            mine.append(stack.enter_context(claimed()))
            return str(mine[0].run.path)

        path = distributed.from_main(claim, world)
        yield mine[0] if mine else Claim(RunDirectory(Path(path)), -1)


def is_unborn(directory: RunDirectory) -> bool:
    """Return whether a run was killed before its lineage existed, as in older versions; nothing is trained then."""
    return not (
        directory.lineage.exists()
        or directory.lineage.is_symlink()
        or CheckpointStore(directory.checkpoints).steps()
    ) and not (directory.weights.exists() or directory.adapter.exists())


def go_on_from(
    store: CheckpointStore,
    directory: RunDirectory,
    model: nn.Module,
    optimizer: Optimizer,
    say: Callable[[str], None],
) -> Progress | None:
    """Restore the newest whole checkpoint into a model and its optimizer; return its progress, None at the beginning.

    Raises `RunError` for a run that has weights but no checkpoint: it would be trained from the beginning.
    """
    state = store.load_newest(say)
    if state is not None:
        return put_back(state, model, optimizer, store.folder)
    if directory.weights.exists() or directory.adapter.exists():
        command = repeating(directory)
        again = f" To train again, start a new run:  {command}" if command else ""
        raise RunError(
            f"{directory.name} has trained weights but no checkpoint to continue from: {store.folder} was emptied. It "
            f"can still be used.{again}"
        )
    return None


def metrics_of(claim: Claim, progress: Progress | None) -> MetricsFile:
    """Return the listener that writes the events of a run, after removing those after `progress`.

    Raises `RunError` when the events belong to another run.
    """
    if progress is not None:
        reached = Reached(progress.step, progress.tokens, progress.best_step, progress.best_loss)
        refuse_other_metrics(claim.run, reached)
    metrics = MetricsFile(claim.run.metrics)
    best = None if progress is None else progress.best_step == progress.step
    metrics.rewind(progress.step if progress else -1, best=best)
    return metrics


def saving(claim: Claim, store: CheckpointStore) -> Callable[[TrainerState, bool], object]:
    """Return a function that writes a checkpoint as long as the run's folder exists."""

    def save(state: TrainerState, best: bool) -> object:
        claim.check()
        return store.save(state, best)

    return save
