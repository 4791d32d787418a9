"""Checks, before anything is allocated, whether a training or a measurement fits into the free memory.

An operating system grants any amount of memory, even for a hundred million layers or a billion rows. It ends the
process, or the whole machine, only when the memory is used. The estimates are those of `model/summary.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import nn

from glassgpt.errors import MemoryFullError
from glassgpt.machine.facts import free_memory
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import FLOAT32, TrainingBytes, byte_size, forward_bytes, training_bytes
from glassgpt.training.config import LoopConfig
from glassgpt.training.parts import OPTIMIZERS

MEASURED_TOKENS = 2048
"""Number of tokens whose loss is measured together (see `evaluation.loss`)."""
HEAP = 48 << 20
"""Bytes that the heap of a process keeps after a first batch."""
ELSEWHERE = "End other programs that take memory, or use a machine that has more."
"""The advice where no setting helps."""
RESUMED = f"{ELSEWHERE} A run that has begun keeps its settings."


def refuse_what_does_not_fit(
    model: ModelConfig, training: LoopConfig, device: torch.device, *, rows: int, resumed: bool = False
) -> None:
    """Raise `MemoryFullError` when pretraining on `rows` rows of the context's length needs more than is free."""
    need = needed(
        model,
        training,
        device,
        rows=rows,
        measuring=measuring_bytes(model, device, min(model.context_length, MEASURED_TOKENS)),
    )
    refuse_training(need, device, lambda free: RESUMED if resumed else _way_out(need, training, free))


def refuse_training(need: TrainingBytes, device: torch.device, way_out: Callable[[int], str]) -> None:
    """Raise `MemoryFullError` when a training needs more than is free; `way_out` is passed the free bytes."""
    free = free_memory(device)
    if need.total <= free:
        return
    parts = {
        "weights": need.weights,
        "gradients": need.gradients,
        "optimizer": need.optimizer,
        "activations of a batch": need.activations,
        "a copy of the base": need.beside,
    }
    told = ", ".join(f"{name} {byte_size(size)}" for name, size in parts.items() if size)
    raise MemoryFullError(
        f"This training needs about {byte_size(need.total)} of memory ({told}), and {byte_size(free)} are free on "
        f"{device.type}. {way_out(free)}"
    )


def needed(
    model: ModelConfig,
    training: LoopConfig,
    device: torch.device,
    *,
    rows: int,
    length: int | None = None,
    segments: bool = False,
    trained: int | None = None,
    loss: int | None = None,
    measuring: int = 0,
) -> TrainingBytes:
    """Return the memory of a training on batches of `rows` rows of `length` tokens (None: the context's length).

    `segments` and `loss` are those of `training_bytes`. `trained` is the number of trained parameters, where that is
    not all of them. `measuring` is what a measurement between two updates takes, when no activations are held.
    """
    need = training_bytes(
        model,
        batch_size=rows,
        length=length,
        checkpoint_activations=training.checkpoint_activations,
        device=device.type,
        segments=segments,
        loss=loss,
        kept=OPTIMIZERS[training.optimizer].kept,
    )
    if trained is not None:
        kept = OPTIMIZERS[training.optimizer].kept(0, trained)
        need = dataclasses.replace(need, gradients=FLOAT32 * trained, optimizer=FLOAT32 * kept)
    return dataclasses.replace(need, activations=taken(max(need.activations, measuring), device))


def taken(held: int, device: torch.device) -> int:
    """Return what a process takes from the system to hold `held` bytes of activations at once.

    On a CPU freed memory stays in the C library's heap, with holes. Measured with glibc at 2,048 to 4,096 tokens,
    evaluating and distilling took 1.0 to 1.9 times what tensors held; this estimate is 0.8 to 1.4 times what they
    took.
    """
    return held + held // 4 + HEAP if device.type == "cpu" else held


def measuring_bytes(model: ModelConfig, device: torch.device, length: int) -> int:
    """Return the memory that measuring a loss over a window of `length` tokens takes, without the weights."""
    rows = max(1, MEASURED_TOKENS // length)
    return forward_bytes(model, batch_size=rows, length=length, device=device.type)


def refuse_measuring(model: GPT, need: int, tokens: int) -> None:
    """Raise `MemoryFullError` when measuring `tokens` tokens at once takes more (`need` bytes) than is free.

    A model in training passes: the training counted its measurements before it began, and the memory that is free
    during it says little.
    """
    device = model.head_weight.device
    need = taken(need, device)
    if model.training or need <= (free := free_memory(device)):
        return
    saved = _saved_by_int8(model)
    ways = [ELSEWHERE]
    if device.type != "cpu":
        ways.insert(0, "Measure on the CPU (--device cpu).")
    if need - free <= saved:
        ways.insert(0, f"Round the weights to 8 bits (--weights int8), which frees {byte_size(saved)}.")
    raise MemoryFullError(
        f"Measuring needs about {byte_size(need)} of memory for {tokens:,} tokens at a time, beside the model, and "
        f"{byte_size(free)} are free on {device.type}. {' '.join(ways)}"
    )


def _saved_by_int8(model: GPT) -> int:
    """Return the bytes that 8-bit weights would free (see `model.int8`); 0 where they have 8 bits already."""
    matrices = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    head = model.token_embedding.weight.numel() if model.config.tied_head else 0
    return max(0, sum(weight.nbytes - weight.numel() for weight in matrices) - head)


def take(ways: Sequence[str]) -> str:
    """Return the sentence that names what helps."""
    return f"Take {', or '.join(ways)}." if ways else ELSEWHERE


def smaller_batches(training: LoopConfig) -> list[str]:
    """Return the settings of the loop that make an update need less memory."""
    ways = []
    if training.batch_size > 1:
        ways.append("a smaller --training.batch-size, with --training.accumulate to make up for it")
    if not training.checkpoint_activations:
        ways.append("--training.checkpoint-activations")
    return ways


def _way_out(need: TrainingBytes, training: LoopConfig, free: int) -> str:
    if need.total - need.activations > free:
        return "Make the model smaller: lower --model.n-embd, --model.n-layer, or the vocabulary."
    ways = smaller_batches(training)
    place = 1 if training.batch_size > 1 else 0
    return take([*ways[:place], "a shorter --model.context-length", *ways[place:]])
