"""Group relative policy optimization: write answers, reward them, make the better ones likelier.

Shao et al. (2024, "DeepSeekMath", section 4.1). Each prompt is answered several times. An answer is compared with the
others of its group, so no second model is needed as a judge. Each batch of answers gives one update of the weights
that wrote it.

A batch depends only on the step and the weights: prompts and draws are numbered by the step. So a run that is killed
and resumed writes the same answers again and ends with the same weights.

Legend: B = prompts times group answers, T tokens.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glassgpt.adapters.lora import lora_layers, switched_off
from glassgpt.chat.messages import Message
from glassgpt.chat.templates import id_of
from glassgpt.errors import CorpusError
from glassgpt.finetuning.config import GRPOConfig
from glassgpt.finetuning.examples import IGNORE, Fitting, count_targets
from glassgpt.finetuning.losses import (
    advantages,
    divergence,
    grpo_loss,
    log_probabilities,
    log_probabilities_bytes,
)
from glassgpt.finetuning.packing import pad
from glassgpt.finetuning.records import Prompt, read_prompts
from glassgpt.finetuning.rewards import Reward, make_reward
from glassgpt.finetuning.rows import RowBatches, split_rows
from glassgpt.finetuning.tally import Tally
from glassgpt.finetuning.task import Measured, Sample, Start, Task, split_facts
from glassgpt.generation.engine import generate_batch
from glassgpt.generation.engines import steady_for
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.text import never_written
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.summary import FLOAT32, TrainingBytes, count_parameters, inference_bytes
from glassgpt.training.fits import needed


class Rollouts:
    """Batches written by the model itself: prompts, answers, rewards."""

    def __init__(
        self,
        start: Start,
        config: GRPOConfig,
        prompts: Sequence[tuple[list[int], Prompt]],
        reward: Reward,
        tally: Tally,
    ) -> None:
        self._start, self._config, self._prompts = start, config, prompts
        self._reward, self._tally = reward, tally
        self._order = RowBatches((torch.arange(len(prompts)),), start.batch_size, start.seed, start.world)
        # With LoRA the base is the model itself with its corrections switched off.
        self._base = (
            None
            if config.beta == 0 or lora_layers(start.model)
            else copy.deepcopy(start.model).requires_grad_(False)
        )

    @property
    def steps_per_epoch(self) -> float:
        """Batches in which each prompt is answered once."""
        return self._order.steps_per_epoch

    @property
    def tokens_per_batch(self) -> int:
        """Maximum number of tokens in one batch of this process."""
        return self._order.tokens_per_batch * self._config.group * self._config.max_tokens

    def at(self, step: int) -> tuple[Tensor, ...]:
        """Return ids and targets (B, T), the base's log-probabilities (B, T) and advantages (B,)."""
        (rows,) = self._order.at(step)
        group, accumulate = self._config.group, self._config.training.accumulate
        chosen = [self._prompts[row] for row in rows.tolist() for _ in range(group)]
        # Draws are numbered by the update and the prompt's place in it, so accumulation and several processes write
        # the same as one large batch.
        update, micro = divmod(step, accumulate)
        first = micro * self._start.batch_size + self._start.world.rank * len(rows)
        prompts = accumulate * self._start.batch_size
        answers = write(
            self._start,
            [ids for ids, _ in chosen],
            max_tokens=self._config.max_tokens,
            temperature=self._config.temperature,
            seed=(self._start.seed * 1_000_003 + update * prompts) % 2**63,
            first_stream=first * group,
        )
        rewards_B = torch.tensor(judge(self._start, self._reward, chosen, answers), dtype=torch.float32)
        self._tally.add(
            {"reward": rewards_B.mean().item(), "length": float(np.mean([len(a) for a in answers]))}
        )
        inputs, targets = as_rows([ids for ids, _ in chosen], answers)
        gains_B = advantages(rewards_B.unflatten(0, (-1, group))).flatten()
        return inputs, targets, self._base_log_probabilities(inputs, targets), gains_B

    def _base_log_probabilities(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if self._config.beta == 0:
            return torch.zeros(targets.shape)
        model = self._base or self._start.model
        with torch.inference_mode(), evaluating(model), switched_off(model):
            found = log_probabilities(model, inputs.to(self._start.device), targets.to(self._start.device))
        return found.clone()


def build(start: Start, config: GRPOConfig) -> Task:
    """Return the task of learning from rewards.

    Without data the model writes from an empty prompt, as in pretraining.
    """
    reward = make_reward(config.reward, words=config.words, length=config.length, say=start.say)
    prompts, held = _prompts(start, config)
    start.say(
        f"{len(prompts):,} prompts, {config.group} answers to each; measured by {config.prompts} answers to "
        f"{len(held):,} held-out prompts."
    )
    tally = Tally()

    def loss(model: GPT, inputs: Tensor, targets: Tensor, base: Tensor, gains: Tensor) -> Tensor:
        found = log_probabilities(model, inputs, targets)
        counted = targets >= 0
        if config.beta:
            apart = (divergence(found.detach(), base) * counted).sum() / counted.sum()
            tally.add_to_last({"divergence": apart.item()})
        return grpo_loss(found, base, gains, counted, config.beta)

    asked = [held[index % len(held)] for index in range(config.prompts)]
    return Task(
        model=start.model,
        batches=Rollouts(start, config, prompts, reward, tally),
        loss=loss,
        counted=lambda batch: count_targets(batch[1]),
        evaluate=lambda: measure(start, config, asked, reward),
        samples=lambda: samples(start, config, asked),
        metrics=tally.take,
        data=split_facts(train=(len(prompts), 0), validation=(len(held), 0)),
        facts={"reward": list(config.reward)},
    )


def measure_records(start: Start, config: GRPOConfig) -> tuple[int, Measured]:
    """Measure a finished run's answers to all prompts of `start.data`, one to each; return their number, too."""
    reward = make_reward(config.reward, words=config.words, length=config.length, say=start.say)
    prompts = read_prompts([Path(path) for path in start.data], start.say)
    (asked,) = _encoded(start, config, prompts, [range(len(prompts))])
    if not asked:
        raise CorpusError(
            f"No prompt leaves room for an answer of {config.max_tokens:,} tokens in the context of "
            f"{start.context_length:,}. Use shorter prompts."
        )
    return len(asked), measure(start, config, asked, reward)


def needed_by_answers(start: Start, config: GRPOConfig) -> TrainingBytes:
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
        loss=log_probabilities_bytes(rows * length, model.vocab_size),
        measuring=inference_bytes(model, batch_size=max(rows, config.prompts)).cache,
    )
    copied = config.beta > 0 and not config.lora.rank
    return dataclasses.replace(need, weights=0, beside=FLOAT32 * count_parameters(model) if copied else 0)


def measure(
    start: Start, config: GRPOConfig, asked: Sequence[tuple[list[int], Prompt]], reward: Reward
) -> Measured:
    """Return the mean reward of answers to fixed prompts with fixed draws; its negative is the loss."""
    answers = _held_out_answers(start, config, asked)
    rewards = judge(start, reward, asked, answers)
    lengths = [len(answer) for answer in answers]
    return Measured(
        -float(np.mean(rewards)),
        metrics={"reward": float(np.mean(rewards)), "length": float(np.mean(lengths))},
    )


def samples(start: Start, config: GRPOConfig, asked: Sequence[tuple[list[int], Prompt]]) -> list[Sample]:
    """Return the first of the answers that the model is measured on."""
    shown = asked[: config.samples.count]
    answers = _held_out_answers(start, config, asked)[: len(shown)]
    return [
        Sample(prompt.messages[-1].content, _text(start, answer))
        for (_, prompt), answer in zip(shown, answers, strict=True)
    ]


def _held_out_answers(
    start: Start, config: GRPOConfig, asked: Sequence[tuple[list[int], Prompt]]
) -> list[list[int]]:
    return write(
        start,
        [ids for ids, _ in asked],
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        seed=config.samples.seed,
    )


def write(
    start: Start,
    prompts: Sequence[list[int]],
    *,
    max_tokens: int,
    temperature: float,
    seed: int,
    first_stream: int = 0,
) -> list[list[int]]:
    """Return the ids that the model writes after each prompt, including the stop token, all in one batch.

    Prompt i draws from stream `first_stream` + i of the seed (see `generate_batch`).
    """
    stops = {start.tokenizer.end_of_text}
    if start.template is not None:
        stops.add(id_of(start.tokenizer, start.template.stop))
    answers: list[list[int]] = [[] for _ in prompts]
    for step in generate_batch(
        start.model,
        prompts,
        SamplingConfig(temperature=temperature),
        max_tokens=max_tokens,
        seed=seed,
        exclude=never_written(start.tokenizer, documents=True),
        stop_ids=stops,
        first_stream=first_stream,
        engine=steady_for(len(prompts) * max_tokens),
    ):
        for row, id in step:
            answers[row].append(id)
    return answers


def judge(
    start: Start, reward: Reward, asked: Sequence[tuple[list[int], Prompt]], answers: Sequence[list[int]]
) -> list[float]:
    """Return the reward of each answer."""
    return [
        reward(prompt.messages[-1].content, _text(start, answer), prompt.record)
        for (_, prompt), answer in zip(asked, answers, strict=True)
    ]


def as_rows(prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Return inputs and targets (B, T) of prompts followed by answers; only the answers' tokens count."""
    whole = [np.array([*prompt, *answer]) for prompt, answer in zip(prompts, answers, strict=True)]
    targets = [
        np.where(np.arange(1, len(ids)) >= len(prompt), ids[1:], IGNORE)
        for ids, prompt in zip(whole, prompts, strict=True)
    ]
    return pad([ids[:-1] for ids in whole], 0), pad(targets, IGNORE)


def _prompts(
    start: Start, config: GRPOConfig
) -> tuple[list[tuple[list[int], Prompt]], list[tuple[list[int], Prompt]]]:
    """Return the prompts to learn from and the held-out ones, each with its ids."""
    if not start.data:
        nothing = Prompt((Message("user", ""),), {}, "nothing")
        ids = start.run.prompt_ids("")
        return [(ids, nothing)], [(ids, nothing)]
    prompts = read_prompts([Path(path) for path in start.data], start.say)
    learn, hold = split_rows(
        [each.content for each in prompts], config.validation, start.seed, by=config.split_by, say=start.say
    )
    learned, held = _encoded(start, config, prompts, (learn, hold))
    if not learned or not held:
        raise CorpusError("No prompt is left that leaves room for an answer. Lower --max-tokens.")
    return learned, held


def _encoded(
    start: Start, config: GRPOConfig, prompts: Sequence[Prompt], parts: Sequence[Sequence[int]]
) -> list[list[tuple[list[int], Prompt]]]:
    """Return, for each part of some prompts (their indexes), those that leave room for an answer, with their ids."""
    fitting = Fitting(
        start.tokenizer,
        start.template,
        start.context_length,
        config.too_long == "skip",
        plain=start.run.prompt_ids,
    )
    found = []
    for rows in parts:
        encoded = ((fitting.prompt(prompts[row], config.max_tokens), prompts[row]) for row in rows)
        found.append([(ids, prompt) for ids, prompt in encoded if ids is not None])
    if fitting.skipped:
        start.say(
            f"{fitting.skipped:,} of {len(prompts):,} prompts left no room for an answer and were left out."
        )
    return found


def _text(start: Start, ids: Sequence[int]) -> str:
    return start.tokenizer.decode(ids)
