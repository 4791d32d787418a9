"""The task of a kind, built after checking that it fits in memory.

What an update holds in memory differs by kind: packed rows have masks, an answer's log-probability needs all its
logits, a student needs its teacher, reinforcement a copy of the base. `training/fits.py` does the rest.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from glassgpt.errors import ConfigError
from glassgpt.finetuning.choice import Choice
from glassgpt.finetuning.config import KINDS
from glassgpt.finetuning.rows import RowBatches
from glassgpt.finetuning.settings import FineTuneConfig
from glassgpt.finetuning.task import Start, Task
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import TrainingBytes, forward_bytes
from glassgpt.registry import imported
from glassgpt.training.fits import RESUMED, needed, refuse_training, smaller_batches, take


def build_task(start: Start, choice: Choice, *, resumed: bool = False) -> Task:
    """Return the task of a kind. Raises `MemoryFullError` when it does not fit."""
    config, kind = choice.config, KINDS[choice.kind]
    if kind.needs is not None:
        _refuse(_part(choice.kind, kind.needs)(start, config), start, config, resumed=resumed)
    task = kind_task(start, choice)
    if isinstance(task.batches, RowBatches):
        _refuse(_needed_by_rows(start, task, task.batches, config), start, config, resumed=resumed)
    return task


def kind_task(start: Start, choice: Choice) -> Task:
    """Return the task of a kind, which may be too large to be trained here."""
    return _part(choice.kind, KINDS[choice.kind].build)(start, choice.config)


def _part(kind: str, place: str) -> Any:
    """Return what a kind names by its place. Raises `ConfigError` where it is not there."""
    try:
        return imported(place)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"The kind {kind!r} needs {place}, which cannot be imported: {error}. Repair or uninstall the package that "
            "provides it."
        ) from error


def language_model(task: Task) -> GPT:
    """Return the language model of a task: the trained module itself, or the model inside it."""
    model = task.model if isinstance(task.model, GPT) else task.model.get_submodule("gpt")
    assert isinstance(model, GPT)
    return model


def _refuse(need: TrainingBytes, start: Start, config: FineTuneConfig, *, resumed: bool) -> None:
    refuse_training(need, start.device, lambda free: RESUMED if resumed else _way_out(need, config, free))


def _needed_by_rows(start: Start, task: Task, batches: RowBatches, config: FineTuneConfig) -> TrainingBytes:
    """Return the memory of an update on rows that are already in memory."""
    model, memory = language_model(task).config, task.memory
    length = batches.tensors[0].shape[-1]
    rows = batches.tokens_per_batch // length
    need = needed(
        model if memory.all_blocks else dataclasses.replace(model, n_layer=1),
        config.training,
        start.device,
        rows=rows,
        length=length,
        segments=memory.segments,
        trained=sum(weight.numel() for weight in task.model.parameters() if weight.requires_grad),
        loss=memory.loss,
        measuring=forward_bytes(
            model,
            batch_size=max(rows, memory.measured_rows),
            length=length,
            device=start.device.type,
            segments=memory.segments,
            logits=memory.loss,
        ),
    )
    return dataclasses.replace(need, weights=0)  # they are in memory


def _way_out(need: TrainingBytes, config: FineTuneConfig, free: int) -> str:
    """Return the settings of the kind that lower what takes too much memory."""
    if need.total - need.activations > free:
        return take(config.fewer_trained)
    return take([*smaller_batches(config.training), *config.shorter])
