"""Direct preference optimization: make the better answer likelier than the worse (Rafailov et al., 2023).

The base that the model is held to does not change, so its log-probabilities of every answer are computed once before
training, and no second model stays in memory. With LoRA the base is the model with its corrections switched off.

Legend: P pairs, T tokens; axis 2 holds the chosen and the rejected answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from glassgpt.adapters.lora import switched_off
from glassgpt.finetuning.answers import answer_held_out
from glassgpt.finetuning.config import DPOConfig
from glassgpt.finetuning.examples import IGNORE, Fitting, Pair, some
from glassgpt.finetuning.losses import dpo_loss, log_probabilities, log_probabilities_bytes
from glassgpt.finetuning.packing import pad
from glassgpt.finetuning.records import Preference, read_preferences
from glassgpt.finetuning.rows import RowBatches, split_rows
from glassgpt.finetuning.start import make_start
from glassgpt.finetuning.tally import Tally
from glassgpt.finetuning.task import Measured, Memory, Start, Task, in_batches, split_facts
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.runs.opening import find_base, open_run

MEASURED_AT_ONCE = 8  # pairs


def build(start: Start, config: DPOConfig) -> Task:
    """Return the task of preferring the chosen answers of `start.data`."""
    fitted = _fitted(start, config)
    contents = [each.content for each, _ in fitted]
    learn, hold = split_rows(contents, config.validation, start.seed, by=config.split_by, say=start.say)
    held = [fitted[index][0] for index in hold]
    train, validation = (
        _with_base(start, some([pair for index in rows if (pair := fitted[index][1])]))
        for rows in (learn, hold)
    )
    start.say(f"{len(train[0]):,} pairs to learn from, {len(validation[0]):,} held out.")
    tally = Tally()

    def loss(model: GPT, inputs: Tensor, targets: Tensor, base: Tensor) -> Tensor:
        gains_P2 = log_ratios(model, inputs, targets, base)
        tally.add(preference_metrics(gains_P2, config.beta))
        return dpo_loss(gains_P2[:, 0], gains_P2[:, 1], config.beta)

    targets = start.batch_size // start.world.size * _most_targets(train[1])
    return Task(
        model=start.model,
        batches=RowBatches(train, start.batch_size, start.seed, start.world),
        loss=loss,
        memory=Memory(
            2 * MEASURED_AT_ONCE, loss=log_probabilities_bytes(targets, start.model.config.vocab_size)
        ),
        evaluate=lambda: measure(start, validation, config.beta),
        samples=lambda: answer_held_out(start, config.samples, [each.prompt for each in held]),
        metrics=tally.take,
        data=split_facts(
            train=(len(train[0]), train[0].numel()), validation=(len(validation[0]), validation[0].numel())
        ),
    )


def measure_records(start: Start, config: DPOConfig) -> tuple[int, Measured]:
    """Measure a finished run on all pairs of `start.data`, against its base; return their number, too.

    Raises `RunError` when the base is gone.
    """
    run = start.run
    base = open_run(str(find_base(run.directory, run.lineage).path))
    held_to = make_start(base, start.data, config, device=start.device, world=start.world, say=lambda _: None)
    pairs = _with_base(held_to, some([pair for _, pair in _fitted(start, config) if pair]))
    return len(pairs[0]), measure(start, pairs, config.beta)


def _fitted(start: Start, config: DPOConfig) -> list[tuple[Preference, Pair | None]]:
    """Return the preferences of `start.data` with their examples, which fit into the context."""
    fitting = Fitting(
        start.tokenizer,
        start.template,
        start.context_length,
        skip_long=config.too_long == "skip",
        keep_equal=config.keep_equal,
    )
    paths = [Path(path) for path in start.data]
    fitted = fitting.pairs(read_preferences(paths, start.say, keep_equal=config.keep_equal))
    for note in fitting.notes():
        start.say(note)
    return some(fitted)


def _most_targets(targets_P2T: Tensor) -> int:
    """Return the largest number of counted tokens in a pair."""
    return int((targets_P2T >= 0).flatten(1).sum(1).max())


def log_ratios(model: GPT, inputs_P2T: Tensor, targets_P2T: Tensor, base_P2: Tensor) -> Tensor:
    """Return log p_model(answer) - log p_base(answer) of each answer, (P, 2)."""
    return answer_log_probabilities(model, inputs_P2T, targets_P2T) - base_P2


def answer_log_probabilities(model: GPT, inputs_P2T: Tensor, targets_P2T: Tensor) -> Tensor:
    """Return the log-probability of each whole answer after its prompt, (P, 2) in nats."""
    longest = int((targets_P2T >= 0).any(0).any(0).nonzero().max()) + 1  # padding costs nothing
    inputs, targets = (tensor[..., :longest].flatten(0, 1) for tensor in (inputs_P2T, targets_P2T))
    return log_probabilities(model, inputs, targets).sum(-1).unflatten(0, (-1, 2))


def preference_metrics(gains_P2: Tensor, beta: float) -> dict[str, float]:
    """Return accuracy (the share of pairs whose chosen answer gained more; ties count half), margin and rewards."""
    rewards_P2 = beta * gains_P2.detach()
    margins_P = rewards_P2[:, 0] - rewards_P2[:, 1]
    return {
        "accuracy": ((margins_P.sign() + 1) / 2).mean().item(),
        "margin": margins_P.mean().item(),
        "chosen": rewards_P2[:, 0].mean().item(),
        "rejected": rewards_P2[:, 1].mean().item(),
    }


@torch.inference_mode()
def measure(start: Start, pairs: tuple[Tensor, Tensor, Tensor], beta: float) -> Measured:
    """Return the loss and the metrics over pairs."""
    with evaluating(start.model):
        gains_P2 = torch.cat(
            [log_ratios(start.model, *batch) for batch in in_batches(pairs, MEASURED_AT_ONCE, start.device)]
        )
    loss = dpo_loss(gains_P2[:, 0], gains_P2[:, 1], beta).item()
    return Measured(loss, metrics=preference_metrics(gains_P2, beta))


def _with_base(start: Start, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs and targets (P, 2, T), and the base's log-probability of each answer (P, 2)."""
    flat = [example for pair in pairs for example in pair]
    inputs = pad([example.inputs for example in flat], 0).unflatten(0, (-1, 2))
    targets = pad([example.targets for example in flat], IGNORE).unflatten(0, (-1, 2))
    with torch.inference_mode(), evaluating(start.model), switched_off(start.model):
        base = [
            answer_log_probabilities(start.model, *batch).cpu()
            for batch in in_batches((inputs, targets), MEASURED_AT_ONCE, start.device)
        ]
    return inputs, targets, torch.cat(base).clone()
