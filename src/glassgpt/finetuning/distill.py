"""Distillation: a small student learns the probabilities of a larger teacher (Hinton et al., 2015).

The text says which token came next. The teacher says how likely every other token was, so each token teaches far
more. Both need the same vocabulary, so the student takes the teacher's.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from glassgpt.commands import command
from glassgpt.dataset.batches import Batches, check_length
from glassgpt.dataset.shards import TokenSplit
from glassgpt.errors import ConfigError, CorpusError
from glassgpt.finetuning.config import DistillConfig
from glassgpt.finetuning.losses import distillation_loss
from glassgpt.finetuning.task import Measured, Sample, Start, Task
from glassgpt.generation.engines import steady_for
from glassgpt.generation.text import GenerationConfig, complete
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import FLOAT32, TrainingBytes, forward_bytes
from glassgpt.pretraining.data import prepare_data
from glassgpt.pretraining.places import find_text
from glassgpt.pretraining.run import measure_split
from glassgpt.runs.config import RunConfig
from glassgpt.runs.lineage import shard_facts
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.fits import MEASURED_TOKENS, measuring_bytes, needed

ROWS_AT_ONCE = 1024
"""Number of tokens whose logits of both models are in memory at once."""


def build(start: Start, config: DistillConfig) -> Task:
    """Return the task of learning from the base on `start.data`, or on the base's own text."""
    teacher = start.model.requires_grad_(False).eval()
    student = GPT(student_config(teacher.config, config)).to(start.device).train()
    run_config = _text(start, config.text_field)
    data = prepare_data(run_config, start.say)
    train, validation = (data.shards.split(name) for name in ("train", "validation"))
    check_length(train, student.config.context_length)
    run_config = _in_order(run_config, start, train, validation)
    start.say(
        f"A student of {student.num_parameters():,} parameters, a teacher of {teacher.num_parameters():,}."
    )

    def loss(model: GPT, inputs: Tensor, targets: Tensor) -> Tensor:
        return soft_loss(model, teacher, inputs, targets, config)

    def evaluate() -> Measured:
        found = measure_split(
            student, start.tokenizer, run_config, validation, max_tokens=config.training.evaluate_tokens
        )
        return Measured(found.loss, found.perplexity, found.bits_per_byte, {"teacher loss": teacher_loss})

    teacher_loss = measure_split(
        teacher, start.tokenizer, run_config, validation, max_tokens=config.training.evaluate_tokens
    ).loss

    def write(count: int) -> list[Sample]:
        if count == 0:
            return []
        known = start.run.knows_documents
        engine = steady_for(count * settings.max_tokens)
        texts = complete(student, start.tokenizer, "", settings, count=count, documents=known, engine=engine)
        return [Sample("", text) for text in texts]

    settings = GenerationConfig(
        temperature=config.samples.temperature,
        max_tokens=config.samples.max_tokens,
        seed=config.samples.seed,
    )
    return Task(
        model=student,
        batches=Batches(
            train,
            student.config.context_length,
            config.training.batch_size,
            seed=config.training.seed,
            order=run_config.training.order,
            stride=run_config.training.stride,
            end_of_text=start.tokenizer.end_of_text,
            world=start.world,
        ),
        loss=loss,
        evaluate=evaluate,
        samples=lambda: write(config.samples.count),
        data=shard_facts(data.shards),
    )


def _in_order(config: RunConfig, start: Start, train: TokenSplit, validation: TokenSplit) -> RunConfig:
    """Return the config with an order that suits the text: another text may not consist of documents."""
    end = start.tokenizer.end_of_text
    whole = train.places_of(end) < len(train) - config.model.context_length
    if config.training.order != "documents" or (whole.any() and len(validation.places_of(end)) > 1):
        return config
    start.say(
        "The text does not consist of documents as the teacher's did, so its rows begin at random places."
    )
    return dataclasses.replace(config, training=dataclasses.replace(config.training, order="random"))


def student_config(teacher: ModelConfig, config: DistillConfig) -> ModelConfig:
    """Return the student's shape: the teacher's parts, fewer and narrower.

    Raises `ConfigError` when they do not fit.
    """
    width = config.width or max(teacher.head_dim, teacher.n_embd // 2 // teacher.head_dim * teacher.head_dim)
    if width % teacher.head_dim:
        raise ConfigError(
            f"width = {width} is not a multiple of the teacher's head width, {teacher.head_dim}. Take "
            f"{max(1, round(width / teacher.head_dim)) * teacher.head_dim}."
        )
    heads = width // teacher.head_dim
    shared = teacher.n_head // teacher.kv_heads
    return dataclasses.replace(
        teacher,
        n_layer=config.layers,
        n_embd=width,
        n_head=heads,
        n_kv_head=heads // shared if heads % shared == 0 else None,
        n_hidden=None,
        dropout=0.0,
    )


def needed_by_student(start: Start, config: DistillConfig) -> TrainingBytes:
    """Return the memory of an update of the student, before the student is built; its teacher is in memory.

    The teacher reads a batch before the student, keeps only its last layer, and is evaluated, too.
    """
    teacher = start.model.config
    student = student_config(teacher, config)
    rows = -(-start.batch_size // start.world.size)
    tokens = rows * student.context_length
    length = min(teacher.context_length, MEASURED_TOKENS)
    alone = [
        forward_bytes(teacher, batch_size=rows, device=start.device.type, logits=0),
        *(measuring_bytes(model, start.device, length) for model in (teacher, student)),
    ]
    return needed(
        student,
        config.training,
        start.device,
        rows=rows,
        loss=soft_loss_bytes(student.vocab_size, tokens) + FLOAT32 * tokens * teacher.n_embd,
        measuring=max(alone),
    )


def soft_loss_bytes(vocab_size: int, tokens: int) -> int:
    """Return the bytes of `soft_loss`: three tables of all logits for the gradient, eight of the current part."""
    at_once = -(-tokens // math.ceil(tokens / ROWS_AT_ONCE))
    return FLOAT32 * vocab_size * (3 * tokens + 5 * at_once)


def soft_loss(
    student: GPT, teacher: GPT, inputs_BT: Tensor, targets_BT: Tensor, config: DistillConfig
) -> Tensor:
    """Return the mean loss over a batch, computed for a part of the rows at a time to hold fewer logits.

    Every part keeps what its gradient needs (see `soft_loss_bytes`).
    """
    with torch.no_grad():
        taught_NC = teacher.hidden(inputs_BT).flatten(0, 1)
    targets_N = targets_BT.flatten()
    parts = math.ceil(len(targets_N) / ROWS_AT_ONCE)

    def loss(student: GPT, hidden_BTC: Tensor) -> Tensor:
        total = hidden_BTC.new_zeros(())
        for hidden, taught, targets in zip(
            hidden_BTC.flatten(0, 1).chunk(parts), taught_NC.chunk(parts), targets_N.chunk(parts), strict=True
        ):
            with torch.no_grad():
                taught_logits = teacher.logits(taught)
            part = distillation_loss(
                student.logits(hidden),
                taught_logits,
                targets,
                temperature=config.temperature,
                alpha=config.alpha,
            )
            total = total + part * (len(targets) / len(targets_N))
        return total

    return student(inputs_BT, then=loss)


def _text(start: Start, text_field: str | None) -> RunConfig:
    """Return the base's config, including the order of its rows, with other sources if some are named."""
    own = start.run.config
    if not start.data and start.run.lineage.data is None:
        raise CorpusError(
            f"{start.run.directory.name} was imported, and its text did not come with it. Name a text:  "
            + command("finetune", "distill", start.run.directory.handle, "TEXT")
        )
    sources = start.data or find_text(start.run.directory, own).corpus.sources
    field = own.corpus.text_field if text_field is None else text_field
    return dataclasses.replace(
        own,
        corpus=dataclasses.replace(own.corpus, sources=sources, text_field=field),
        tokenizer=TokenizerConfig(name=str(start.run.directory.tokenizer)),
    )
