"""GRPO and DPO on answers of very different lengths, against their formulas in NumPy and float64, token by token.

The tasks are the real ones, and the updates are those of the loop, including accumulation and gradient clipping. By
hand, each text is read alone, without padding, and the formula gives the gradient of the logits: torch only computes
the way from there to the weights.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glassgpt.device import World
from glassgpt.finetuning import dpo, grpo
from glassgpt.finetuning.config import DPOConfig, FineTuneConfig, GRPOConfig
from glassgpt.finetuning.losses import advantages
from glassgpt.finetuning.start import make_start
from glassgpt.finetuning.task import Measured, Task
from glassgpt.model.gpt import GPT
from glassgpt.runs.opening import open_run
from glassgpt.training.jobs import make_job
from glassgpt.training.state import Progress
from glassgpt.training.trainer import update
from tests.finetuning.test_kinds import KINDS

CPU = torch.device("cpu")
BETA, CLIP = 0.4, 0.05
GROUPS = (  # the lengths of the answers to each prompt, and their rewards
    ((1, 17), (0.0, 1.0)),
    ((12, 2), (0.3, 0.1)),
    ((5, 5), (0.0, 2.0)),
    ((30, 1), (1.0, 0.5)),
)


@dataclass(frozen=True)
class Text:
    """A prompt, an answer, and the base's log-probability of each token of the answer."""

    prompt: list[int]
    answer: list[int]
    base: np.ndarray

    @property
    def ids(self) -> list[int]:
        return [*self.prompt, *self.answer]


@dataclass(frozen=True)
class Fixed:
    """Fixed batches."""

    batches: Sequence[tuple[torch.Tensor, ...]]
    steps_per_epoch: float = 1.0
    tokens_per_batch: int = 1

    def at(self, step: int) -> tuple[torch.Tensor, ...]:
        return self.batches[step]


def texts_of(lengths: Sequence[int], model: GPT, draws: np.random.Generator) -> list[Text]:
    """Random texts; the base's log-probability of each token differs from the model's by about 0.7 nats."""
    found = []
    for length in lengths:
        prompt, answer = (draws.integers(5, 300, size).tolist() for size in (draws.integers(1, 20), length))
        text = Text(prompt, answer, np.zeros(length))
        _, logits = logits_of(model, text)
        drawn = log_softmax(logits)[np.arange(length), answer]
        found.append(Text(prompt, answer, drawn + draws.normal(0, 0.7, length)))
    return found


def logits_of(model: GPT, text: Text) -> tuple[torch.Tensor, np.ndarray]:
    """Return the logits (tokens of the answer, V) that predict each token: with a gradient, and as numbers."""
    logits_NV = model(torch.tensor([text.ids[:-1]]))[0, len(text.prompt) - 1 :]
    return logits_NV, logits_NV.detach().double().numpy()


def log_softmax(logits_NV: np.ndarray) -> np.ndarray:
    shifted = logits_NV - logits_NV.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def push_back(logits: torch.Tensor, numbers_NV: np.ndarray, answer: list[int], each_N: np.ndarray) -> None:
    """Set the gradient of a loss whose derivative with respect to the log-probabilities is `each_N`."""
    tokens = np.arange(len(answer))
    gradient_NV = -np.exp(log_softmax(numbers_NV))  # d log p(token) / d logits = one for the token - p
    gradient_NV[tokens, answer] += 1
    logits.backward(torch.from_numpy(each_N[:, None] * gradient_NV))


def grpo_by_hand(model: GPT, groups: Sequence[Sequence[Text]]) -> tuple[float, float]:
    """Return the loss, and its value with a mean per answer (1/|o|) instead; the gradients are in the weights."""
    count = sum(len(text.answer) for group in groups for text in group)
    rows = sum(len(group) for group in groups)
    loss = by_answers = 0.0
    for group, (_, rewards) in zip(groups, GROUPS, strict=True):
        mean = sum(rewards) / len(rewards)
        deviation = (sum((reward - mean) ** 2 for reward in rewards) / len(rewards)) ** 0.5
        for text, reward in zip(group, rewards, strict=True):
            advantage = (reward - mean) / (deviation + 1e-4)
            logits, numbers_NV = logits_of(model, text)
            drawn_N = log_softmax(numbers_NV)[np.arange(len(text.answer)), text.answer]
            apart_N = text.base - drawn_N
            terms_N = -advantage + BETA * (np.exp(apart_N) - apart_N - 1)  # the ratio is 1
            loss += terms_N.sum() / count
            by_answers += terms_N.mean() / rows
            each_N = (-advantage + BETA * (1 - np.exp(apart_N))) / count
            push_back(logits, numbers_NV, text.answer, each_N)
    return loss, by_answers


def dpo_by_hand(model: GPT, pairs: Sequence[Sequence[Text]]) -> tuple[float, float]:
    """Return the loss, and its value with means of log-probabilities instead; the gradients are in the weights."""
    loss = by_means = 0.0
    for pair in pairs:
        found = [logits_of(model, text) for text in pair]
        gains_N = [
            log_softmax(numbers)[np.arange(len(text.answer)), text.answer] - text.base
            for text, (_, numbers) in zip(pair, found, strict=True)
        ]
        margin = BETA * (gains_N[0].sum() - gains_N[1].sum())
        loss += np.log1p(np.exp(-margin)) / len(pairs)
        by_means += np.log1p(np.exp(-BETA * (gains_N[0].mean() - gains_N[1].mean()))) / len(pairs)
        slope = -BETA / (1 + np.exp(margin)) / len(pairs)
        for text, (logits, numbers_NV), sign in zip(pair, found, (1, -1), strict=True):
            push_back(logits, numbers_NV, text.answer, np.full(len(text.answer), sign * slope))
    return loss, by_means


def grpo_batch(groups: Sequence[Sequence[Text]], first: int) -> tuple[torch.Tensor, ...]:
    """Return what `Rollouts` would: rows, the base's log-probabilities, and the advantages."""
    texts = [text for group in groups for text in group]
    inputs, targets = grpo.as_rows([text.prompt for text in texts], [text.answer for text in texts])
    base = torch.zeros(targets.shape)
    base[targets >= 0] = torch.tensor(np.concatenate([text.base for text in texts]), dtype=torch.float32)
    rewards_PG = torch.tensor([rewards for _, rewards in GROUPS[first : first + len(groups)]])
    return inputs, targets, base, advantages(rewards_PG).flatten()


def dpo_batch(pairs: Sequence[Sequence[Text]], first: int) -> tuple[torch.Tensor, ...]:
    texts = [text for pair in pairs for text in pair]
    inputs, targets = grpo.as_rows([text.prompt for text in texts], [text.answer for text in texts])
    base_P2 = torch.tensor([[text.base.sum() for text in pair] for pair in pairs], dtype=torch.float32)
    return inputs.unflatten(0, (-1, 2)), targets.unflatten(0, (-1, 2)), base_P2


Kind = tuple[Callable[..., Task], FineTuneConfig, tuple[str, ...], Callable[..., Any], Callable[..., Any]]
BOTH: dict[str, Kind] = {
    "grpo": (grpo.build, dataclasses.replace(KINDS["grpo"][0], beta=BETA), (), grpo_batch, grpo_by_hand),
    "dpo": (dpo.build, dataclasses.replace(KINDS["dpo"][0], beta=BETA), ("liked.json",), dpo_batch, dpo_by_hand),
}  # fmt: skip


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("kind", BOTH)
def test_an_update_by_ragged_answers_is_the_formula(kind: str, accumulate: int, here: Path) -> None:
    build, config, data, batch_of, by_hand = BOTH[kind]
    assert isinstance(config, GRPOConfig | DPOConfig)
    training = dataclasses.replace(config.training, accumulate=accumulate, clip=CLIP)
    config = dataclasses.replace(config, training=training)
    start = make_start(open_run("base"), data, config, device=CPU, world=World(), say=lambda _: None)
    task, reference = build(start, config), copy.deepcopy(start.model).double()
    draws = np.random.default_rng(5)
    groups = [texts_of(lengths, reference, draws) for lengths, _ in GROUPS]
    size = len(groups) // accumulate
    batches = [batch_of(groups[first : first + size], first) for first in range(0, len(groups), size)]
    job = make_job(
        training, task.model, device=CPU, say=lambda _: None, batches=Fixed(batches), steps=9, loss=task.loss,
        counted=task.counted, evaluate=lambda: Measured(0.0), save=lambda *_: None,
    )  # fmt: skip
    loss, norm = update(job, Progress(steps=9))
    expected, otherwise = by_hand(reference, groups)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert abs(otherwise - expected) > 0.01 * abs(expected)  # otherwise the lengths would make no difference
    squares = sum(
        (weight.grad**2).sum().item() for weight in reference.parameters() if weight.grad is not None
    )
    assert norm.item() == pytest.approx(squares**0.5, rel=1e-4)
    assert norm.item() > 2 * CLIP
    for (name, weight), exact in zip(start.model.named_parameters(), reference.parameters(), strict=True):
        assert weight.grad is not None, name
        assert exact.grad is not None, name
        shrunk = exact.grad * CLIP / squares**0.5
        torch.testing.assert_close(weight.grad.double(), shrunk, rtol=1e-3, atol=2e-7, msg=name)
