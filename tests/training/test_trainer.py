"""The training loop: what one update does, when the loop stops, what it reports, and what must not disturb it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassgpt.errors import NonFiniteLossError
from glassgpt.evaluation.loss import Evaluation, evaluate
from glassgpt.training.events import (
    CheckpointSaved,
    Evaluated,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
)
from glassgpt.training.losses import next_token_loss
from glassgpt.training.schedules import learning_rate
from glassgpt.training.state import Progress
from glassgpt.training.trainer import autocast, update


def double_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The usual loss, without its float32 softmax, for comparing at full precision."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def same_weights(first, second, **tolerance) -> None:
    for name, weight in first.weights().items():
        torch.testing.assert_close(second.weights()[name], weight, **(tolerance or {"rtol": 0, "atol": 0}))


# One update


def test_training_learns(bench):
    work = bench(steps=60, log_every=1)
    work.train()
    losses = [event.loss for event in work.of(StepsFinished)]
    assert losses[0] == pytest.approx(math.log(17), abs=0.3)
    assert losses[-1] < 0.7 * losses[0]


def test_small_batches_add_up_to_a_large_one(bench):
    """In order "windows" two batches of 4 are the same rows as one batch of 8."""
    settings = {"order": "windows", "steps": 4, "log_every": 1, "double": True, "job": {"loss": double_loss}}
    large = bench(batch_size=8, **settings)
    small = bench(batch_size=4, accumulate=2, **settings)
    smallest = bench(batch_size=1, accumulate=8, **settings)
    for work in (large, small, smallest):
        work.train()
        same_weights(large, work, rtol=1e-9, atol=1e-12)
        assert [event.tokens for event in work.of(StepsFinished)] == [96, 192, 288, 384]
        for mine, its in zip(work.of(StepsFinished), large.of(StepsFinished), strict=True):
            assert mine.loss == pytest.approx(its.loss, rel=1e-6)
            assert mine.gradient_norm == pytest.approx(its.gradient_norm, rel=1e-9)
    assert small.of(TrainingStarted)[0].tokens_per_step == 96
    assert small.of(TrainingStarted)[0].steps_per_epoch == large.of(TrainingStarted)[0].steps_per_epoch


@pytest.mark.parametrize("clip", [0.0, 1e-3, 0.05, 1e6])
def test_clipping_bounds_the_norm_of_all_gradients_together(bench, clip: float):
    """Plain gradient descent at rate 1 shows the gradient that was applied as the change of the weights."""
    config = {"clip": clip, "schedule": "constant", "warmup_steps": 0, "learning_rate": 1.0}
    work = bench(**config, double=True, job={"loss": double_loss})
    work.job.optimizer = torch.optim.SGD(work.model.parameters(), lr=1.0)
    before = work.weights()
    inputs, targets = work.job.batches.at(0)
    gradients = torch.autograd.grad(double_loss(work.model, inputs, targets), list(work.model.parameters()))
    full = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    assert 0.1 < full < 100
    loss, norm = update(work.job, Progress())
    assert norm.item() == pytest.approx(full, rel=1e-9)
    assert loss.item() == pytest.approx(math.log(17), abs=0.3)
    moved = math.sqrt(sum((work.weights()[name] - old).square().sum().item() for name, old in before.items()))
    assert moved == pytest.approx(min(full, clip or math.inf), rel=1e-4)


def test_each_update_has_the_learning_rate_of_its_step(bench):
    work = bench(steps=9, log_every=1, schedule="linear", warmup_steps=3)
    used = []
    step = work.job.optimizer.step
    work.job.optimizer.step = lambda: (used.append(work.job.optimizer.param_groups[0]["lr"]), step())
    work.train()
    expected = [learning_rate(step, 9, work.job.config) for step in range(9)]
    assert used == expected == [event.learning_rate for event in work.of(StepsFinished)]


def test_batches_are_taken_in_order_each_once(bench):
    asked = []
    work = bench(steps=3, accumulate=2)

    class Watched:
        steps_per_epoch = 10.0
        tokens_per_batch = 1

        def at(self, step: int) -> tuple[Tensor, Tensor]:
            asked.append(step)
            return torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64)

    work.job.batches = Watched()
    work.train()
    assert asked[-6:] == [0, 1, 2, 3, 4, 5]


def test_bfloat16_computes_low_and_keeps_weights_high(bench):
    kinds = set()

    def watched(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        kinds.add(model(inputs).dtype)
        return next_token_loss(model, inputs, targets)

    work = bench(steps=3, job={"precision": torch.bfloat16, "loss": watched})
    work.train()
    assert kinds == {torch.bfloat16}
    assert {weight.dtype for weight in work.model.parameters()} == {torch.float32}
    assert work.of(TrainingStarted)[0].precision == "bfloat16"
    with autocast(torch.device("cpu"), torch.float32):
        assert not torch.is_autocast_enabled("cpu")


# Before an update that would poison the weights


def nan_gradient(loss: Tensor, model: nn.Module) -> Tensor:
    weight = next(model.parameters()).flatten()[0]
    return loss + (weight - weight.detach()).abs().sqrt()  # worth 0, with an infinite slope


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda loss, _: loss * math.nan, "the loss is nan"),
        (lambda loss, _: loss + math.inf, "the loss is inf"),
        (nan_gradient, "the gradients' norm is nan"),
    ],
)
def test_a_loss_that_is_no_number_stops_before_the_update(bench, spoil, what: str):
    calls = []

    def breaking(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = next_token_loss(model, inputs, targets)
        calls.append(work.weights())
        return spoil(loss, model) if len(calls) == 8 else loss

    work = bench(steps=20, accumulate=2, seed=5, job={"loss": breaking})
    with pytest.raises(NonFiniteLossError) as caught:
        work.train()
    for part in ("At step 3 (batch 6 of seed 5)", what, "not applied", "learning rate lower than 0.01"):
        assert part in str(caught.value)
    for name, weight in work.weights().items():
        assert torch.equal(weight, calls[-1][name])
        assert weight.isfinite().all()
    assert work.saved == []


# Stopping


def scripted(work, losses: list[float]) -> None:
    left = iter(losses)
    work.job.evaluate = lambda: Evaluation(next(left), tokens=10, text_bytes=20.0)


def test_patience_counts_evaluations_without_a_new_best(bench):
    work = bench(steps=100, evaluate_every=2, patience=3)
    scripted(work, [3.0, 2.0, 2.5, 1.9, 1.9, 2.0, 1.95, 1.0])
    finished = work.train()
    assert (finished.reason, finished.step) == ("no improvement", 12)
    assert (finished.best_loss, finished.best_step) == (1.9, 6)
    assert work.saved[-1][0].progress.evaluations_since_best == 3


def test_a_resumed_run_out_of_patience_ends_at_once(bench):
    work = bench(steps=100, evaluate_every=1, patience=1)
    scripted(work, [1.0, 2.0])
    work.train()
    again = bench(steps=100, evaluate_every=1, patience=1)
    finished = again.train(work.saved[-1][0].progress)
    assert (finished.reason, finished.step) == ("no improvement", 1)
    assert again.saved == []


def test_a_stop_is_heeded_after_the_step_and_saved(bench):
    work = bench(steps=100, log_every=1, job={"stop": lambda: len(work.of(StepsFinished)) == 4})
    finished = work.train()
    assert (finished.reason, finished.step) == ("interrupted", 4)
    assert [(state.progress.step, best) for state, best in work.saved] == [(4, False)]


def test_a_finished_run_that_is_resumed_finishes_again(bench):
    work = bench(steps=3)
    work.train()
    again = bench(steps=3)
    assert again.train(work.saved[-1][0].progress).reason == "finished"
    assert [type(event) for event in again.events] == [TrainingStarted, TrainingFinished]


# Telling


def test_events_come_in_order_with_their_content(bench):
    work = bench(steps=6, evaluate_every=2, checkpoint_every=3, log_every=2, sample_every=4)
    scripted(work, [3.0, 2.0, 2.5, 1.0])
    work.job.sample = lambda step: [f"written at {step}"]
    finished = work.train()
    brief = [
        (type(event), event.step, *(getattr(event, name) for name in ("best",) if hasattr(event, name)))
        for event in work.events
    ]
    assert brief == [
        (TrainingStarted, 0),
        (Evaluated, 0, True),
        (Sampled, 0),
        (CheckpointSaved, 0, True),
        (StepsFinished, 2),
        (Evaluated, 2, True),
        (CheckpointSaved, 2, True),
        (StepsFinished, 3),  # what was made since the last line is told before a checkpoint
        (CheckpointSaved, 3, False),
        (StepsFinished, 4),
        (Evaluated, 4, False),
        (Sampled, 4),
        (StepsFinished, 6),
        (Evaluated, 6, True),
        (Sampled, 6),
        (CheckpointSaved, 6, True),
        (TrainingFinished, 6),
    ]
    assert [(state.progress.step, best) for state, best in work.saved] == [
        (0, True),
        (2, True),
        (3, False),
        (6, True),
    ]
    started, evaluated = work.events[0], work.of(Evaluated)[1]
    assert started.parameters == sum(weight.numel() for weight in work.model.parameters())
    assert (started.steps, started.tokens_per_step, started.device) == (6, 4 * 12, "cpu")
    assert started.steps_per_epoch == 600 / 48
    assert (evaluated.loss, evaluated.tokens) == (2.0, 2 * 48)
    assert evaluated.perplexity == pytest.approx(math.e**2)
    assert evaluated.bits_per_byte == pytest.approx(2.0 * 10 / 20 / math.log(2))
    assert work.of(Sampled)[1].texts == ("written at 4",)
    assert work.events[-1] is finished
    times = [event.seconds for event in work.events if hasattr(event, "seconds")]
    assert times == sorted(times)


def test_a_line_of_the_log_is_the_mean_of_its_updates(bench):
    fine, coarse = bench(steps=7, log_every=1), bench(steps=7, log_every=3)
    fine.train()
    coarse.train()
    losses = [event.loss for event in fine.of(StepsFinished)]
    lines = coarse.of(StepsFinished)
    assert [line.step for line in lines] == [3, 6, 7]
    means = [sum(losses[:3]) / 3, sum(losses[3:6]) / 3, losses[6]]
    assert [line.loss for line in lines] == pytest.approx(means)
    assert all(line.tokens_per_second > 0 for line in lines)


# What must not disturb


def test_evaluating_sampling_and_saving_do_not_disturb_training(bench):
    def busy_bench():
        work = bench(steps=12, evaluate_every=1, sample_every=1, model={"dropout": 0.3})
        work.job.evaluate = lambda: evaluate(
            work.model, work.job.batches.split, context_length=12, max_tokens=200
        )

        def sample(_step: int) -> tuple[str, ...]:
            work.model.eval()  # the loop puts the mode back
            return ("text",)

        work.job.sample = sample
        return work

    busy = busy_bench()
    busy.train()
    quiet = bench(steps=12, model={"dropout": 0.3})
    quiet.train()
    assert len(busy.of(Evaluated)) == len(busy.of(Sampled)) == 13
    same_weights(busy, quiet)


def test_computing_activations_twice_changes_nothing(bench):
    settings = {"steps": 8, "model": {"dropout": 0.2}}
    kept = bench(**settings)
    kept.train()
    twice = bench(**settings, checkpoint_activations=True)
    twice.train()
    assert twice.model.checkpoint_activations
    same_weights(kept, twice)


def test_the_same_seed_trains_the_same_weights(bench):
    def trained(seed: int):
        work = bench(seed=seed, model={"dropout": 0.1})
        work.train()
        return work

    first = trained(1)
    same_weights(first, trained(1))
    assert not torch.equal(trained(2).model.token_embedding.weight, first.model.token_embedding.weight)
