"""What a kind of fine-tuning gives the common loop: examples as batches, a loss, and an evaluation.

A kind is a function from a `Start` (the base, opened) to a `Task`; everything else, from checkpoints to the
report, is the same for all of them (see `run`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from glassgpt.chat.templates import ChatTemplate
from glassgpt.device import World
from glassgpt.model.gpt import GPT
from glassgpt.runs.opening import Run
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.training.jobs import BatchSource
from glassgpt.training.losses import LossFunction

Say = Callable[[str], None]

HEAD = "head.safetensors"
"""File of the tensors that are trained beside a model's own."""


@dataclass
class Start:
    """The start of a fine-tuning: the base's model, its tokenizer and chat template, and the device."""

    run: Run
    model: GPT
    tokenizer: FastTokenizer
    device: torch.device
    data: tuple[str, ...] = ()
    """Files to learn from."""
    seed: int = 0
    batch_size: int = 8
    template: ChatTemplate | None = None
    world: World = field(default_factory=World)
    say: Say = lambda _: None

    @property
    def context_length(self) -> int:
        """Maximum number of tokens of one text."""
        return self.model.config.context_length


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation. Perplexity and bits per byte are None if the loss is not about predicting text."""

    loss: float
    perplexity: float | None = None
    bits_per_byte: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and what was written after it."""

    prompt: str
    text: str
    ended: bool | None = None
    """Whether an answer ended by its end token rather than at the limit of tokens; None where that says nothing."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the memory of an update on `RowBatches` follows from, beside the model. The defaults fit a plain kind."""

    measured_rows: int = 8
    """Rows that are computed at once in an evaluation."""
    segments: bool = False
    """Whether a row holds several examples, so that attention needs a mask."""
    loss: int | None = None
    """Bytes of the loss and its gradient; those of the loss of pretraining when left out."""
    all_blocks: bool = True
    """Whether every block keeps what its gradient needs; otherwise at most the last one does."""


@dataclass
class Task:
    """One kind of fine-tuning, ready for the loop."""

    model: nn.Module
    """What is trained: the model, or a module around it that has its `blocks` and `config`."""
    batches: BatchSource
    loss: LossFunction
    evaluate: Callable[[], Measured]
    data: dict[str, Any]
    """The data's entry in lineage.json: documents, and splits with documents, bytes, tokens."""
    counted: Callable[[Sequence[torch.Tensor]], int] | None = None
    """The counted amount of a batch, if batches differ in it (see `Job.counted`)."""
    memory: Memory = Memory()
    samples: Callable[[], Sequence[Sample]] = list
    metrics: Callable[[], dict[str, float]] = dict
    facts: dict[str, Any] = field(default_factory=dict)
    """Further facts for lineage.json."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Further files of the run: a JSON value by name."""
    tensors: Callable[[], dict[str, torch.Tensor]] = dict
    """Trained tensors beside the model's, kept in `HEAD`."""
    findings: Callable[[], dict[str, Any]] = dict
    """Further files that show the result, by name: a matplotlib figure, or a JSON value."""


def in_batches(
    tensors: Sequence[torch.Tensor], size: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the rows of some tensors a few at a time, on a device."""
    for first in range(0, len(tensors[0]), size):
        yield tuple(tensor[first : first + size].to(device) for tensor in tensors)


def split_facts(**splits: tuple[int, int]) -> dict[str, Any]:
    """Return the lineage's entry about data, from (documents, tokens) of each split."""
    return {
        "documents": sum(documents for documents, _ in splits.values()),
        "splits": {
            name: {"documents": documents, "bytes": 0, "tokens": tokens}
            for name, (documents, tokens) in splits.items()
        },
    }
