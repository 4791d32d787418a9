"""A snapshot holds everything that decides how training continues: interrupted equals uninterrupted, bit for bit."""

from __future__ import annotations

import copy
import dataclasses
import random

import numpy as np
import pytest
import torch

from glassgpt.device import seed_everything
from glassgpt.training.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
)
from glassgpt.training.state import Progress, capture, random_state, restore, set_random_state

CPU = torch.device("cpu")


def draw_from_all() -> list[float]:
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.random()),  # noqa: NPY002
        float(np.random.standard_normal()),  # noqa: NPY002
        torch.rand(()).item(),
        torch.randn(()).item(),
    ]


@pytest.mark.parametrize("drawn_before", [0, 1, 2])
def test_every_generator_goes_on_where_it_was(drawn_before: int):
    """An odd number of normal draws leaves half a pair behind in Python's and NumPy's generators."""
    seed_everything(5)
    for _ in range(drawn_before):
        draw_from_all()
    tensors, plain = random_state(CPU)
    expected = [draw_from_all() for _ in range(3)]
    seed_everything(99)
    set_random_state(tensors, plain, CPU)
    assert [draw_from_all() for _ in range(3)] == expected


DROPOUT = {"model": {"dropout": 0.2}}


def stopped_at(bench, step: int, **settings):
    """Train until `step`, and return what was saved there."""
    work = bench(**settings, job={"stop": lambda: done(work) >= step})
    assert work.train().reason == "interrupted"
    state, _ = work.saved[-1]
    assert state.progress.step == step
    return work, state


def done(work) -> int:
    return max((event.step for event in work.of(StepsFinished)), default=0)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"order": "windows"}, {"clip": 0.0}], ids=str)
def test_interrupted_equals_uninterrupted(bench, settings: dict):
    settings = {**DROPOUT, **settings, "log_every": 1}
    once = bench(**settings)
    once.train()
    first, state = stopped_at(bench, 5, **settings)
    assert not torch.equal(first.model.token_embedding.weight, once.model.token_embedding.weight)

    second = bench(**settings, seed=1337)
    with torch.no_grad():
        second.model.token_embedding.weight.zero_()  # everything is put back, whatever was there
    seed_everything(999)
    second.train(restore(state, second.model, second.job.optimizer))
    for name, weight in once.weights().items():
        assert torch.equal(second.weights()[name], weight), name
    ends = [work.saved[-1][0] for work in (once, second)]
    assert ends[0].optimizer.keys() == ends[1].optimizer.keys()
    for part in ("optimizer", "random"):
        for name, tensor in getattr(ends[0], part).items():
            assert torch.equal(tensor, getattr(ends[1], part)[name]), name
    assert ends[0].plain == ends[1].plain
    timeless = [dataclasses.replace(end.progress, seconds=0) for end in ends]
    assert timeless[0] == timeless[1]


def without_times(events: list[Event]) -> list[Event]:
    events = [event for event in events if not isinstance(event, TrainingStarted | TrainingFinished)]
    times = ("seconds", "tokens_per_second")
    return [
        dataclasses.replace(event, **{name: 0 for name in times if hasattr(event, name)}) for event in events
    ]


@pytest.mark.parametrize("at", [3, 4, 5, 6])
def test_a_resumed_run_reports_everything_exactly_once(bench, at: int):
    """Checkpoints fall between evaluations, samples and lines of the log. A sample that was due at the step of the
    checkpoint was once written again, and the losses since the last line were lost."""
    losses = {0: 3.0, 5: 2.0, 10: 2.5}
    settings = {"evaluate_every": 5, "checkpoint_every": 1, "sample_every": 3, "log_every": 4, **DROPOUT}

    def make():
        work = bench(**settings)
        work.job.evaluate = lambda: dataclasses.replace(EVALUATION, loss=losses[work.step])
        work.job.sample = lambda step: (f"written at {step}",)
        return work

    once = follow(make())
    once.train()
    state = next(state for state, _ in once.saved if state.progress.step == at)
    again = follow(make())
    again.step = at
    again.train(restore(copy.deepcopy(state), again.model, again.job.optimizer))
    before = [event for event in without_times(once.events) if event.step <= at]
    assert before + without_times(again.events) == without_times(once.events)
    kinds = {type(event) for event in once.events}
    assert kinds >= {Evaluated, Sampled, CheckpointSaved, StepsFinished}


def follow(work):
    """Keep `work.step` at the number of updates done, for evaluations that depend on it."""
    work.step = 0
    loss = work.job.loss

    def counting(*arguments):
        work.step += 1
        return loss(*arguments)

    work.job.loss = counting
    return work


@dataclasses.dataclass(frozen=True)
class Measured:
    loss: float = 0.0
    perplexity: float = 1.0
    bits_per_byte: float = 1.0
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)


EVALUATION = Measured()


def test_a_snapshot_is_tensors_and_plain_values_only(bench):
    import json

    work = bench(steps=2)
    work.train()
    state = capture(work.model, work.job.optimizer, Progress(step=2, best_loss=1.5))
    for part in (state.model, state.optimizer, state.random):
        assert all(isinstance(tensor, torch.Tensor) for tensor in part.values())
    assert json.loads(json.dumps(state.plain)) == state.plain
    assert Progress(**json.loads(json.dumps(dataclasses.asdict(state.progress)))) == state.progress
    moments = {name.rpartition(".")[2] for name in state.optimizer}
    assert moments == {"exp_avg", "exp_avg_sq", "step"}


def test_the_progress_of_a_snapshot_does_not_move_on(bench):
    work = bench(steps=2)
    progress = Progress(step=1)
    state = capture(work.model, work.job.optimizer, progress)
    progress.step = 7
    assert state.progress.step == 1
    restored = restore(state, work.model, work.job.optimizer)
    restored.step = 9
    assert state.progress.step == 1


def test_the_best_loss_is_remembered():
    progress = Progress()
    story = []
    for step, loss in enumerate([3.0, 2.0, 2.0, float("nan"), 1.0]):
        progress.step = step
        best = progress.note_evaluation(loss)
        story.append((best, progress.best_loss, progress.best_step, progress.evaluations_since_best))
    assert story == [
        (True, 3.0, 0, 0),
        (True, 2.0, 1, 0),
        (False, 2.0, 1, 1),
        (False, 2.0, 1, 2),
        (True, 1.0, 4, 0),
    ]
