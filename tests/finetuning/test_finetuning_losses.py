"""Each loss against its formula worked out by hand, and its gradient against finite differences."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.finetuning.dpo import answer_log_probabilities, preference_metrics
from glassgpt.finetuning.losses import (
    advantages,
    answer_loss,
    distillation_loss,
    divergence,
    dpo_loss,
    grpo_loss,
    log_probabilities,
)
from glassgpt.finetuning.scores import scores_of
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT

SMALL = ModelConfig(vocab_size=11, context_length=8, n_layer=1, n_head=2, n_embd=8)


def model(**settings: Any) -> GPT:
    torch.manual_seed(3)
    return GPT(replace(SMALL, **settings)).double()


def test_dpo_by_hand() -> None:
    chosen, rejected = torch.tensor([1.0, -0.5]), torch.tensor([0.5, 0.5])
    expected = (math.log(1 + math.exp(-0.2 * 0.5)) + math.log(1 + math.exp(0.2 * 1.0))) / 2
    assert dpo_loss(chosen, rejected, 0.2).item() == pytest.approx(expected, rel=1e-6)
    assert dpo_loss(chosen, chosen, 0.2).item() == pytest.approx(math.log(2))
    metrics = preference_metrics(torch.stack((chosen, rejected), 1), 0.2)
    assert metrics["accuracy"] == 0.5
    assert metrics["margin"] == pytest.approx(0.2 * (0.5 - 1.0) / 2)
    assert (metrics["chosen"], metrics["rejected"]) == (pytest.approx(0.05), pytest.approx(0.1))


def test_dpo_pushes_the_chosen_up_and_the_rejected_down() -> None:
    gains = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    dpo_loss(gains[:, 0], gains[:, 1], 0.1).backward()
    assert gains.grad is not None
    assert (gains.grad[:, 0] < 0).all()
    assert (gains.grad[:, 1] > 0).all()
    assert torch.autograd.gradcheck(
        lambda x: dpo_loss(x[:, 0], x[:, 1], 0.7), torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    )


def test_the_log_probability_of_an_answer_is_the_sum_of_its_tokens() -> None:
    gpt = model()
    ids = torch.randint(0, 11, (3, 2, 7))
    targets = torch.randint(0, 11, (3, 2, 7))
    targets[..., :2], targets[..., 6:] = -100, -100
    found = answer_log_probabilities(gpt, ids, targets)
    logits = gpt(ids.flatten(0, 1)).log_softmax(-1).view(3, 2, 7, 11)
    expected = logits[:, :, 2:6].gather(-1, targets[:, :, 2:6, None]).squeeze(-1).sum(-1)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


def test_what_does_not_count_has_neither_value_nor_gradient() -> None:
    gpt = model()
    ids = torch.randint(0, 11, (2, 5))
    targets = torch.full((2, 5), -100)
    targets[1, 3] = 4
    found = log_probabilities(gpt, ids, targets)
    assert (found != 0).nonzero().tolist() == [[1, 3]]
    loss = answer_loss(gpt, ids, torch.zeros_like(ids), targets)
    assert loss.item() == pytest.approx(-found[1, 3].item(), rel=1e-5)
    loss.backward()
    assert gpt.token_embedding.weight.grad is not None


def test_advantages_by_hand() -> None:
    found = advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.3, 0.3, 0.3, 0.3]]))
    torch.testing.assert_close(found[0], torch.tensor([1.0, -1.0, -1.0, 1.0]), rtol=1e-3, atol=1e-3)
    assert found[1].abs().max() < 1e-3  # nothing to choose between


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_advantages_add_up_to_nothing(rewards: list[float]) -> None:
    assert abs(advantages(torch.tensor([rewards], dtype=torch.float64)).sum().item()) < 1e-6


def test_grpo_is_the_policy_gradient_and_the_divergence() -> None:
    """Its value is -(mean advantage over tokens) + beta KL; its gradient without KL is -A / tokens a token."""
    torch.manual_seed(0)
    found = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    base, gains = torch.randn(3, 4, dtype=torch.float64), torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    counted = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], dtype=torch.bool)
    loss = grpo_loss(found, base, gains, counted, 0.0)
    assert loss.item() == pytest.approx(-(2 * 1.0 + 4 * -0.5 + 2 * 2.0) / 8)
    loss.backward()
    torch.testing.assert_close(found.grad, -gains[:, None] * counted / 8)
    held = grpo_loss(found, base, gains, counted, 0.3)
    kl = (divergence(found, base) * counted).sum() / 8
    assert held.item() == pytest.approx(loss.item() + 0.3 * kl.item())


@given(st.floats(-8, 8), st.floats(-8, 8))
def test_the_divergence_is_never_below_zero_and_zero_at_the_base(here: float, base: float) -> None:
    found = divergence(
        torch.tensor(here, dtype=torch.float64), torch.tensor(base, dtype=torch.float64)
    ).item()
    assert found >= -1e-12
    assert divergence(torch.tensor(here), torch.tensor(here)).item() == 0


def test_distillation_by_hand() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    targets = torch.randint(0, 5, (6,))
    p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    soft = (p * (p.log() - q.log())).sum(-1).mean()
    expected = 0.3 * F.cross_entropy(student, targets) + 0.7 * 4 * soft
    found = distillation_loss(student, teacher, targets, temperature=2.0, alpha=0.3)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    same = distillation_loss(teacher, teacher, targets, temperature=2.0, alpha=0.0)
    assert same.item() == pytest.approx(0.0, abs=1e-6)
    only_text = distillation_loss(student, teacher, targets, temperature=2.0, alpha=1.0)
    assert only_text.item() == pytest.approx(F.cross_entropy(student, targets).item(), rel=1e-6)


@given(data=st.data(), labels=st.integers(2, 5), count=st.integers(1, 60))
def test_scores_agree_with_scikit_learn(data: st.DataObject, labels: int, count: int) -> None:
    metrics: Any = pytest.importorskip("sklearn.metrics")
    import numpy as np

    names = st.lists(st.integers(0, labels - 1), min_size=count, max_size=count)
    right, said = np.array(data.draw(names)), np.array(data.draw(names))
    found = scores_of(right, said, [str(index) for index in range(labels)])
    assert found.accuracy == pytest.approx(metrics.accuracy_score(right, said))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(right, said, average="macro"))
    assert (found.confusion == metrics.confusion_matrix(right, said, labels=range(labels))).all()
