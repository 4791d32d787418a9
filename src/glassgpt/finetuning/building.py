"""The task of a kind, built after checking that it fits in memory.

What an update holds in memory differs by kind: packed rows have masks, an answer's log-probability needs all its
logits, a student needs its teacher, reinforcement a copy of the base. `training/fits.py` does the rest.
"""

from __future__ import annotations

import dataclasses
import importlib

from torch import Tensor

from glassgpt.finetuning.choice import Choice
from glassgpt.finetuning.config import (
    ClassifyConfig,
    DistillConfig,
    DPOConfig,
    FineTuneConfig,
    GRPOConfig,
    SFTConfig,
)
from glassgpt.finetuning.distill import needed_by_student
from glassgpt.finetuning.rows import RowBatches
from glassgpt.finetuning.task import Start, Task
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import (
    FLOAT32,
    TrainingBytes,
    count_parameters,
    forward_bytes,
    inference_bytes,
)
from glassgpt.training.fits import RESUMED, needed, refuse_training, smaller_batches, take

MEASURED_ROWS: dict[type[FineTuneConfig], int] = {SFTConfig: 8, DPOConfig: 16, ClassifyConfig: 32}
"""Rows per batch of a kind's evaluation."""


def build_task(start: Start, choice: Choice, *, resumed: bool = False) -> Task:
    """Return the task of a kind; each kind has a module of the same name.

    Raises `MemoryFullError` when it does not fit.
    """
    config = choice.config
    if isinstance(config, DistillConfig):
        _refuse(needed_by_student(start, config), start, config, resumed=resumed)
    if isinstance(config, GRPOConfig):
        _refuse(_needed_by_answers(start, config), start, config, resumed=resumed)
    task = importlib.import_module(f"glassgpt.finetuning.{choice.kind}").build(start, config)
    if isinstance(task.batches, RowBatches):
        _refuse(_needed_by_rows(start, task, task.batches, config), start, config, resumed=resumed)
    return task


def language_model(task: Task) -> GPT:
    """Return the language model of a task: the trained module itself, or the model inside it."""
    model = task.model if isinstance(task.model, GPT) else task.model.get_submodule("gpt")
    assert isinstance(model, GPT)
    return model


def _refuse(need: TrainingBytes, start: Start, config: FineTuneConfig, *, resumed: bool) -> None:
    refuse_training(need, start.device, lambda free: RESUMED if resumed else _way_out(need, config, free))


def _needed_by_answers(start: Start, config: GRPOConfig) -> TrainingBytes:
    """Return the memory of an update on answers that are not written yet; prompts are short in comparison."""
    model = start.model.config
    rows = -(-start.batch_size // start.world.size) * config.group
    length = min(model.context_length, config.max_tokens)
    need = needed(
        model,
        config.training,
        start.device,
        rows=rows,
        length=length,
        trained=start.model.num_parameters(trainable_only=True),
        loss=_of_answers(rows * length, model),
        measuring=inference_bytes(model, batch_size=max(rows, config.prompts)).cache,
    )
    copied = config.beta > 0 and not config.lora.rank
    return dataclasses.replace(need, weights=0, beside=FLOAT32 * count_parameters(model) if copied else 0)


def _needed_by_rows(start: Start, task: Task, batches: RowBatches, config: FineTuneConfig) -> TrainingBytes:
    """Return the memory of an update on rows that are already in memory."""
    model = language_model(task).config
    length = batches.tensors[0].shape[-1]
    rows = batches.tokens_per_batch // length
    segments, loss = isinstance(config, SFTConfig), None
    if isinstance(config, DPOConfig):
        loss = _of_answers(rows // 2 * _most_targets(batches.tensors[1]), model)
    elif isinstance(config, ClassifyConfig):
        loss = 0  # the labels' logits are few
    need = needed(
        model if _all_blocks_learn(config) else dataclasses.replace(model, n_layer=1),
        config.training,
        start.device,
        rows=rows,
        length=length,
        segments=segments,
        trained=sum(weight.numel() for weight in task.model.parameters() if weight.requires_grad),
        loss=loss,
        measuring=forward_bytes(
            model,
            batch_size=max(
                rows, next(most for kind, most in MEASURED_ROWS.items() if isinstance(config, kind))
            ),
            length=length,
            device=start.device.type,
            segments=segments,
            logits=loss,
        ),
    )
    return dataclasses.replace(need, weights=0)  # they are in memory


def _all_blocks_learn(config: FineTuneConfig) -> bool:
    """Return whether every block keeps what its gradient needs; otherwise at most the last one does."""
    return not isinstance(config, ClassifyConfig) or config.freeze == "none"


def _of_answers(targets: int, model: ModelConfig) -> int:
    """Return the bytes of `log_probabilities`: the logits of all targets, their log-softmax, and its gradient."""
    return 3 * FLOAT32 * targets * model.vocab_size


def _most_targets(targets_P2T: Tensor) -> int:
    """Return the largest number of counted tokens in a pair."""
    return int((targets_P2T >= 0).flatten(1).sum(1).max())


def _way_out(need: TrainingBytes, config: FineTuneConfig, free: int) -> str:
    """Return the settings of the kind that lower what takes too much memory."""
    if need.total - need.activations > free:
        return take(_fewer_trained(config))
    return take([*smaller_batches(config.training), *_shorter(config)])


def _fewer_trained(config: FineTuneConfig) -> list[str]:
    if isinstance(config, DistillConfig):
        return ["fewer --layers", "a smaller --width"]
    if config.adapter.rank:
        return []
    frozen = ["--freeze all"] if isinstance(config, ClassifyConfig) and config.freeze != "all" else []
    return frozen + ["--lora.rank 8, which trains only corrections"] * _all_blocks_learn(config)


def _shorter(config: FineTuneConfig) -> list[str]:
    if not isinstance(config, GRPOConfig):
        return []
    return ["fewer --max-tokens", *(["a smaller --group"] if config.group > 2 else [])]
