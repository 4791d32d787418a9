"""Whether a training fits into the memory that is free, asked before anything is allocated for it.

A model of a hundred million layers, a batch of a billion rows: an operating system gives such memory out and ends
the process, or the whole machine, when it is used. The estimate is that of `model/summary.py`.
"""

from __future__ import annotations

import dataclasses

import torch

from glassgpt.errors import MemoryFullError
from glassgpt.machine.facts import free_memory
from glassgpt.model.config import ModelConfig
from glassgpt.model.summary import FLOAT32, TrainingBytes, byte_size, training_bytes
from glassgpt.training.config import LoopConfig


def refuse_what_does_not_fit(
    model: ModelConfig,
    training: LoopConfig,
    device: torch.device,
    *,
    rows: int,
    trained: int | None = None,
    loaded: bool = False,
) -> None:
    """Raise `MemoryFullError` when an update on `rows` rows of the context's length needs more than is free.

    `trained` is how many numbers are trained, where that is not all of them. `loaded` says that the weights are in
    memory already.
    """
    need = needed(model, training, device, rows=rows, trained=trained)
    if loaded:
        need = dataclasses.replace(need, weights=0)
    free = free_memory(device)
    if need.total <= free:
        return
    raise MemoryFullError(
        f"This training needs about {byte_size(need.total)} of memory (weights {byte_size(need.weights)}, gradients "
        f"{byte_size(need.gradients)}, optimizer {byte_size(need.optimizer)}, activations of a batch "
        f"{byte_size(need.activations)}), and {byte_size(free)} are free on {device.type}. "
        f"{_way_out(need, training, free)}"
    )


def needed(
    model: ModelConfig, training: LoopConfig, device: torch.device, *, rows: int, trained: int | None = None
) -> TrainingBytes:
    """Return the memory of an update, the masks and tables of attention among the activations."""
    need = training_bytes(
        model, batch_size=rows, checkpoint_activations=training.checkpoint_activations, device=device.type
    )
    if trained is not None:
        need = dataclasses.replace(need, gradients=FLOAT32 * trained, optimizer=2 * FLOAT32 * trained)
    length = model.context_length
    tables = 2 * FLOAT32 * length * model.head_dim + (length**2 if model.attention != "full" else 0)
    return dataclasses.replace(need, activations=need.activations + tables)


def _way_out(need: TrainingBytes, training: LoopConfig, free: int) -> str:
    if need.total - need.activations > free:
        return "Make the model smaller: lower --model.n-embd, --model.n-layer, or the vocabulary."
    ways = ["a shorter --model.context-length"]
    if training.batch_size > 1:
        ways.insert(0, "a smaller --training.batch-size, with --training.accumulate to make up for it")
    if not training.checkpoint_activations:
        ways.append("--training.checkpoint-activations")
    return f"Take {', or '.join(ways)}."
