"""Supervised fine-tuning: from a model that continues text to one that answers (Ouyang et al., 2022, section 3.5).

The chat template formats conversations, which are packed into rows; only the assistant's tokens are learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from glassgpt.finetuning.answers import answer_held_out
from glassgpt.finetuning.config import SFTConfig
from glassgpt.finetuning.examples import Fitting, count_targets
from glassgpt.finetuning.losses import answer_loss
from glassgpt.finetuning.packing import PackedRows, pack
from glassgpt.finetuning.records import Conversation, read_conversations
from glassgpt.finetuning.rows import RowBatches, split_rows
from glassgpt.finetuning.task import Measured, Memory, Start, Task, in_batches, split_facts
from glassgpt.model.modes import evaluating
from glassgpt.training.losses import perplexity, token_losses_of

MEASURED_AT_ONCE = 8  # rows


def build(start: Start, config: SFTConfig) -> Task:
    """Return the task of learning the answers of `start.data`. Raises `CorpusError` if records cannot be used."""
    conversations = read_conversations([Path(path) for path in start.data], start.say)
    learn, hold = split_rows(
        [each.content for each in conversations],
        config.validation,
        start.seed,
        by=config.split_by,
        say=start.say,
    )
    train, held = ([conversations[index] for index in rows] for rows in (learn, hold))
    packed, validation = _pack(start, config, train, held)
    start.say(
        f"{packed.examples:,} conversations to learn from, packed into {len(packed.inputs):,} rows of "
        f"{start.context_length} tokens ({packed.wasted:.1%} of them unused); {validation.examples:,} held out."
    )
    return Task(
        model=start.model,
        batches=RowBatches(
            (packed.inputs, packed.segments, packed.targets), start.batch_size, start.seed, start.world
        ),
        loss=answer_loss,
        memory=Memory(MEASURED_AT_ONCE, segments=True),
        counted=lambda batch: count_targets(batch[2]),
        evaluate=lambda: measure_answers(start, validation),
        samples=lambda: answer_held_out(start, config.samples, [each.messages[:-1] for each in held]),
        data=split_facts(
            train=(packed.examples, packed.inputs.numel()),
            validation=(validation.examples, validation.inputs.numel()),
        ),
        facts={"packing": {"rows": len(packed.inputs), "wasted": round(packed.wasted, 5)}},
    )


def measure_records(start: Start, config: SFTConfig) -> tuple[int, Measured]:
    """Measure a finished run on all answers of `start.data`; return their number, too."""
    conversations = read_conversations([Path(path) for path in start.data], start.say)
    (rows,) = _pack(start, config, conversations)
    return rows.examples, measure_answers(start, rows)


def _pack(start: Start, config: SFTConfig, *parts: Sequence[Conversation]) -> list[PackedRows]:
    """Return the rows of each part of the conversations, and say once what does not fit."""
    assert start.template is not None
    fitting = Fitting(start.tokenizer, start.template, start.context_length, config.too_long == "skip")
    packed = [
        pack(fitting.examples((each.messages, each.source) for each in part), start.context_length)
        for part in parts
    ]
    for note in fitting.notes():
        start.say(note)
    return packed


@torch.inference_mode()
def measure_answers(start: Start, rows: PackedRows) -> Measured:
    """Return the mean loss of the answers' tokens, also in bits per byte of the answers."""
    nats, count, text_bytes = 0.0, 0, 0.0
    lengths = start.tokenizer.byte_lengths()
    with evaluating(start.model):
        for inputs, segments, targets in in_batches(
            (rows.inputs, rows.segments, rows.targets), MEASURED_AT_ONCE, start.device
        ):
            counted = targets >= 0
            losses = start.model(
                inputs,
                segments_BT=segments,
                then=lambda model, hidden, counted=counted, targets=targets: token_losses_of(
                    model, hidden[counted], targets[counted]
                ),
            )
            nats += losses.double().sum().item()
            count += int(counted.sum())
            text_bytes += float(lengths[targets[counted].cpu().numpy()].sum())
    loss = nats / count
    return Measured(loss, perplexity(loss), nats / math.log(2) / text_bytes if text_bytes else None)
