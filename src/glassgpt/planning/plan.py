"""From minutes to a run: vocabulary, shape, batch, schedule and steps for a text and a machine.

    text  -> vocabulary, context length, order of the rows
    shapes from small to large: time an update -> bytes of text in the time -> expected quality -> the best one
    best shape -> batch, threads, evaluations, dropout, and what is said about it

What is decided stands in the config and can be read, changed and run again. Only the number of updates follows
the clock while training (`training.seconds`, see `training.pace`).
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
from glassgpt.system import explaining
from glassgpt.tokenizers.load import load_tokenizer
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
"""Less than this does not train a model that is worth the name."""
LEAST_UPDATES = 20
LEAST_TOKENS = 64
"""A text with fewer tokens to train on is refused: there is nothing to learn from so little."""
WEIGHTS_PER_BYTE = 20
"""Weights of the blocks for each byte of text, beyond which a larger model is not considered."""
LEAST_PACED = 0.5
"""Seconds that a run takes at least: with less there is no pace to keep."""
MOST_EPOCHS = 12
"""Passes over the text after which a model only learns it by heart."""
PROBE_TOKENS = 2048
"""Tokens of an update while shapes are compared."""
MEMORY_SHARE = 0.6
"""Of the free memory, what a plan may take."""
COMPILING_SECONDS = 900
"""From this much time on it is tried whether compiling pays: the trial alone takes half a minute."""
MEASURING_SHARE = 0.05
"""Of the time, what measuring may take."""
MEASURING_MOST = 120.0
"""Seconds of measuring, however much time there is: beyond, larger shapes are reckoned from smaller ones."""


@dataclass(frozen=True)
class Plan:
    """A run that fits into its time, and the numbers it was chosen by."""

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
    """A shape, how fast it trains here, and how good it should become."""

    model: ModelConfig
    tokens_per_second: float
    excess: float
    """Bits per byte it is expected to be above the best possible model."""


@explaining
def make_plan(
    config: RunConfig,
    seconds: float,
    say: Callable[[str], None] = lambda _: None,
    *,
    optimizer: str = "muon",
) -> Plan:
    """Return the best run for `config`'s text and device that trains in `seconds` with an optimizer.

    Of `config` the corpus, its cleaning and its split are kept, and device, precision, seed and threads.
    Raises `TrainingError` when the time is too short, saying how long the shortest useful one is.
    """
    if seconds < LEAST_SECONDS:
        raise TrainingError(
            f"{seconds:.0f} s of training are too few to train anything: the smallest model needs about "
            f"{LEAST_SECONDS:.0f} s. Give it --minutes {_minutes(3 * LEAST_SECONDS)} or more."
        )
    text, short = look_at(config)
    config, text = _with_vocabulary(config, text, short, seconds)
    config = replace(config, training=replace(config.training, optimizer=optimizer))
    say(f"Measuring what this machine does with {byte_size(text.bytes)} of text.")
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
    """Return the config with its vocabulary decided, and the facts with the tokens of a short text counted."""
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
        f"The text is too small to train on: cleaning leaves {text.bytes:,} bytes, which are {train:,} tokens to learn "
        f"from and {validation:,} to measure on. Give it about {needed:,} bytes or more that do not repeat themselves; "
        "a few thousand words make the smallest model that is worth the name."
    )


def _shapes_for(text: TextFacts) -> tuple[tuple[int, int, int], ...]:
    """Return the shapes to consider: as large as time allows, but none far larger than what is to be learned."""
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
    vocab_size = load_tokenizer(named).vocab_size if named else config.tokenizer.vocab_size
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
    """Return the settings of the updates by which shapes are compared."""
    return replace(training, batch_size=max(1, PROBE_TOKENS // model.context_length))


def _consider(base: RunConfig, machine: Machine, text: TextFacts, seconds: float) -> tuple[Candidate, ...]:
    """Measure shapes from small to large until they get worse, or the time for measuring is over."""
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
            f"{byte_size(machine.memory_bytes)} of free memory are too little for even the smallest model here. "
            "Close other programs, or use another --training.device."
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
    """Fill in what follows from the shape: batch, threads, steps, rates, dropout, evaluations."""
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
    """Return the training with its batch, split up where memory asks for it."""
    rows, accumulate = max(1, batch_tokens_for(tokens) // model.context_length), 1
    while rows > 1 and _memory(model, training, rows, machine) > MEMORY_SHARE * machine.memory_bytes:
        rows, accumulate = rows // 2, accumulate * 2
    return replace(training, batch_size=rows, accumulate=accumulate)


def _memory(model: ModelConfig, training: TrainingConfig, rows: int, machine: Machine) -> int:
    """Return the bytes that training on batches of `rows` rows takes on this machine's device."""
    kept = OPTIMIZERS[training.optimizer].kept
    return training_bytes(model, batch_size=rows, device=machine.device.type, kept=kept).total
