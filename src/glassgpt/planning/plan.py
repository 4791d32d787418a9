"""From minutes to a run: vocabulary, shape, batch, schedule and steps for a text and a machine.

    text  -> vocabulary, context length, order of the rows
    shapes from small to large: time an update -> bytes of text in the time -> expected quality -> the best one
    best shape -> batch, threads, evaluations, dropout, and remarks

Every decision is in the config, where it can be read, changed and run again. Only the number of updates follows the
clock during training (`training.seconds`, see `training.pace`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from glassgpt.errors import TrainingError
from glassgpt.model.config import ModelConfig
from glassgpt.model.summary import (
    block_parameters,
    byte_size,
    count_parameters,
    flops_per_token,
    training_bytes,
)
from glassgpt.planning.machine import Machine, this_machine
from glassgpt.planning.quality import excess_bits
from glassgpt.planning.rules import (
    batch_tokens_for,
    bytes_per_token,
    context_for,
    dropout_for,
    pauses_for,
    vocabulary_for,
)
from glassgpt.planning.text import ShortText, TextFacts, look_at
from glassgpt.runs.config import RunConfig
from glassgpt.runs.vocabulary import named_tokenizer
from glassgpt.system import explaining
from glassgpt.training.choices import compiling_pays, seconds_per_update
from glassgpt.training.config import TrainingConfig
from glassgpt.training.parts import OPTIMIZERS

# Layers, heads and width: first for notes of a few hundred words, then from the smallest model that learns to write to
# what a large GPU trains in days.
TINY_SHAPES = ((1, 1, 32), (2, 1, 64))
SHAPES = (
    *TINY_SHAPES,
    (2, 2, 128),
    (3, 3, 192),
    (4, 4, 256),
    (6, 6, 384),
    (8, 8, 512),
    (12, 12, 768),
    (16, 16, 1024),
    (24, 24, 1536),
)
LEAST_SECONDS = 3.0
"""The shortest training, in seconds, that gives a useful model."""
LEAST_UPDATES = 20
LEAST_TOKENS = 64
"""A text with fewer training tokens is refused: it is too little to learn from."""
WEIGHTS_PER_BYTE = 20
"""The most block weights per byte of text; larger models are not considered."""
LEAST_PACED = 0.5
"""The shortest run, in seconds: a shorter one has no pace to keep."""
MOST_EPOCHS = 12
"""Passes over the text after which a model only learns it by heart."""
PROBE_TOKENS = 2048
"""Tokens of an update while shapes are compared."""
MEMORY_SHARE = 0.6
"""The share of the free memory that a plan may take."""
COMPILING_SECONDS = 900
"""With at least this many seconds, the plan tries whether compiling pays. The trial alone takes half a minute."""
MEASURING_SHARE = 0.05
"""The share of the time that measuring may take."""
MEASURING_MOST = 120.0
"""The most seconds of measuring. After them, larger shapes are estimated from smaller ones."""


@dataclass(frozen=True)
class Plan:
    """A run that fits its time, and the numbers that led to the choice."""

    config: RunConfig
    text: TextFacts
    machine: Machine
    seconds: float
    """Seconds of training."""
    update_seconds: float
    parameters: int
    memory_bytes: int
    epochs: float
    considered: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A shape, its training speed on this machine, and its expected quality."""

    model: ModelConfig
    tokens_per_second: float
    excess: float
    """Expected bits per byte above the best possible model."""


@explaining
def make_plan(
    config: RunConfig,
    seconds: float,
    say: Callable[[str], None] = lambda _: None,
    *,
    optimizer: str = "muon",
) -> Plan:
    """Return the best run for `config`'s text and device that trains in `seconds` with an optimizer.

    The corpus, its cleaning and its split are kept from `config`, and so are device, precision, seed and threads.
    Raises `TrainingError` when the time is too short. The message gives the shortest useful time.
    """
    if seconds < LEAST_SECONDS:
        raise TrainingError(
            f"{seconds:.0f} s of training are too few to train anything: the smallest model needs about "
            f"{LEAST_SECONDS:.0f} s. Give it --minutes {_minutes(3 * LEAST_SECONDS)} or more."
        )
    text, short = look_at(config)
    config, text = _with_vocabulary(config, text, short, seconds)
    config = replace(config, training=replace(config.training, optimizer=optimizer))
    say(f"Measuring how fast this machine trains on {byte_size(text.bytes)} of text.")
    base = _base(config, text, seconds)
    smallest = _shaped(base, _shapes_for(text)[0])
    machine = this_machine(smallest, _probing(base.training, smallest), say)
    considered = _consider(base, machine, text, seconds)
    best = min(considered, key=lambda candidate: candidate.excess)
    return _settle(base, best, considered, machine, text, seconds)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.2g}"


def _with_vocabulary(
    config: RunConfig, text: TextFacts, short: ShortText | None, seconds: float
) -> tuple[RunConfig, TextFacts]:
    """Return the config with its vocabulary decided, and the facts, with token counts if the text is short."""
    if config.tokenizer.name is None:
        tokenizer = replace(config.tokenizer, kind="bpe", vocab_size=vocabulary_for(text, seconds))
        config = replace(config, tokenizer=tokenizer)
    if short is None:
        return config, text
    text, _ = short.tokenized(text, config.tokenizer)
    _refuse_too_little(config, text)
    return config, text


def _refuse_too_little(config: RunConfig, text: TextFacts) -> None:
    train, validation = text.tokens or (LEAST_TOKENS, 2)
    if train >= LEAST_TOKENS and (validation >= 2 or not config.split.validation):
        return
    shares = [LEAST_TOKENS / max(1, train)]
    if config.split.validation:
        shares.append(2 / max(1, validation))
    needed = math.ceil(text.bytes * max(shares) / 100) * 100
    raise TrainingError(
        f"The text is too small to train on: cleaning leaves {text.bytes:,} bytes, which are {train:,} tokens to "
        f"learn from and {validation:,} to measure on. Give it at least about {needed:,} bytes without repetition; "
        f"a few thousand words are enough for the smallest useful model."
    )


def _shapes_for(text: TextFacts) -> tuple[tuple[int, int, int], ...]:
    """Return the shapes to consider: as large as the time allows, but none far too large for the text."""
    tiny = len(TINY_SHAPES)
    fitting = [
        (layers, heads, width)
        for layers, heads, width in SHAPES[: tiny + 1]
        if 12 * layers * width**2 <= WEIGHTS_PER_BYTE * text.bytes
    ]
    if len(fitting) > tiny:
        return SHAPES[tiny:]
    return (fitting[-1] if fitting else SHAPES[0],)


def _base(config: RunConfig, text: TextFacts, seconds: float) -> RunConfig:
    """Return the config with everything that does not depend on the shape."""
    named = config.tokenizer.name
    vocab_size = named_tokenizer(named).vocab_size if named else config.tokenizer.vocab_size
    assert vocab_size is not None  # decided before
    context_length, order = context_for(text, vocab_size, seconds)
    model = ModelConfig(
        vocab_size=vocab_size, context_length=context_length, tied_head=False, embedding_std=0.3
    )
    training = replace(
        config.training,
        order=order,
        schedule="wsd",
        decay_share=0.6,
        min_learning_rate=0.0,
        warmup_steps=0,
        clip=1.0,
    )
    return replace(config, model=model, training=training)


def _shaped(base: RunConfig, shape: tuple[int, int, int]) -> ModelConfig:
    n_layer, n_head, n_embd = shape
    return replace(base.model, n_layer=n_layer, n_head=n_head, n_embd=n_embd)


def _probing(training: TrainingConfig, model: ModelConfig) -> TrainingConfig:
    """Return the settings of the updates that compare shapes."""
    return replace(training, batch_size=max(1, PROBE_TOKENS // model.context_length))


def _consider(base: RunConfig, machine: Machine, text: TextFacts, seconds: float) -> tuple[Candidate, ...]:
    """Measure shapes from small to large, until they get worse or the time for measuring is over."""
    considered: list[Candidate] = []
    left = min(MEASURING_SHARE * seconds, MEASURING_MOST)
    context = base.model.context_length
    probe = replace(_probing(base.training, base.model), threads=machine.threads)
    tokens = probe.batch_size * context
    flops_per_second = 0.0
    for shape in _shapes_for(text):
        model = _shaped(base, shape)
        if _memory(model, probe, probe.batch_size, machine) > MEMORY_SHARE * machine.memory_bytes:
            break
        flops = flops_per_token(model) * tokens
        if not considered or flops / flops_per_second * 3 <= left:
            update = seconds_per_update(model, probe, machine.device, machine.precision)
            left -= 3 * update
            flops_per_second = flops / update
        considered.append(_candidate(model, flops_per_second / flops * tokens, text, seconds))
        if len(considered) > 1 and considered[-1].excess > considered[-2].excess:
            break
    if not considered:
        raise TrainingError(
            f"{byte_size(machine.memory_bytes)} of free memory is too little even for the smallest model here. "
            "Close other programs, or use another --device."
        )
    return tuple(considered)


def _candidate(model: ModelConfig, tokens_per_second: float, text: TextFacts, seconds: float) -> Candidate:
    tokens = tokens_per_second * seconds
    if tokens < LEAST_UPDATES * PROBE_TOKENS / 2:
        return Candidate(model, tokens_per_second, math.inf)
    seen = tokens * bytes_per_token(text, model.vocab_size)
    return Candidate(model, tokens_per_second, excess_bits(block_parameters(model), seen, text.bytes))


def _settle(
    base: RunConfig,
    best: Candidate,
    considered: tuple[Candidate, ...],
    machine: Machine,
    text: TextFacts,
    seconds: float,
) -> Plan:
    """Fill in what follows from the shape: batch, threads, steps, learning rates, dropout, evaluations."""
    notes: list[str] = []
    tokens = best.tokens_per_second * seconds
    per_epoch = text.training_bytes / bytes_per_token(text, best.model.vocab_size)
    if tokens > MOST_EPOCHS * per_epoch:
        seconds, tokens = seconds * MOST_EPOCHS * per_epoch / tokens, MOST_EPOCHS * per_epoch
        notes.append(
            f"The text is too small for that time: after {MOST_EPOCHS} passes a model only learns it by heart, so "
            f"about {max(1, seconds):.0f} s are used. More text would make a better model."
        )
    epochs = tokens / per_epoch
    model = replace(best.model, dropout=dropout_for(epochs))
    training = _batched(base.training, machine, model, tokens)
    if seconds >= COMPILING_SECONDS:
        timed = replace(training, threads=machine.threads)
        gain = compiling_pays(model, timed, machine.device, machine.precision)
        training, tokens = replace(training, compile=gain > 1.0), tokens * gain
    update_tokens = training.batch_size * training.accumulate * model.context_length
    steps = max(1, round(tokens / update_tokens))
    training = replace(
        training,
        steps=steps,
        seconds=max(LEAST_PACED, round(seconds, 1)),
        evaluate_every=max(1, steps // pauses_for(seconds)),
        evaluate_tokens=int(min(262144, max(8192, tokens / 100))),
        precision="bfloat16" if str(machine.precision) == "torch.bfloat16" else "float32",
        patience=5,
        **OPTIMIZERS[training.optimizer].plan(steps, model.n_embd),  # type: ignore[arg-type]  # its own settings
    )
    return Plan(
        config=replace(base, model=model, training=training),
        text=text,
        machine=machine,
        seconds=seconds,
        update_seconds=seconds * update_tokens / tokens,
        parameters=count_parameters(model),
        memory_bytes=_memory(model, training, training.batch_size, machine),
        epochs=epochs,
        considered=considered,
        notes=tuple(notes),
    )


def _batched(training: TrainingConfig, machine: Machine, model: ModelConfig, tokens: float) -> TrainingConfig:
    """Return the training settings with the batch, split up if memory requires it."""
    rows, accumulate = max(1, batch_tokens_for(tokens) // model.context_length), 1
    while rows > 1 and _memory(model, training, rows, machine) > MEMORY_SHARE * machine.memory_bytes:
        rows, accumulate = rows // 2, accumulate * 2
    return replace(training, batch_size=rows, accumulate=accumulate)


def _memory(model: ModelConfig, training: TrainingConfig, rows: int, machine: Machine) -> int:
    """Return the bytes that training on batches of `rows` rows takes on the machine's device."""
    kept = OPTIMIZERS[training.optimizer].kept
    return training_bytes(model, batch_size=rows, device=machine.device.type, kept=kept).total
