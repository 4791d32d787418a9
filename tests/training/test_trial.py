"""Timed updates, with a clock that the test turns; what they leave as it was; what they share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch

from glassgpt.model.config import ModelConfig
from glassgpt.training import trial
from glassgpt.training.config import TrainingConfig
from glassgpt.training.trial import MOST_UPDATES, steady_seconds, trial_job, undisturbed, updates_of

TINY = ModelConfig(vocab_size=20, context_length=8, n_layer=1, n_head=2, n_embd=8)
SETTINGS = TrainingConfig(batch_size=2, threads=1, precision="float32", device="cpu", accumulate=4)
CPU = torch.device("cpu")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], Callable[[], None]]:
    """Make a function whose calls take the given seconds, one after another; `made` counts them."""

    def make(seconds: Sequence[float]) -> Callable[[], None]:
        now = [0.0]
        left = itertools.chain(seconds)
        monkeypatch.setattr(trial.time, "perf_counter", lambda: now[0])

        def run() -> None:
            now[0] += next(left)
            run.made += 1

        run.made = 0
        return run

    return make


@pytest.mark.parametrize(
    ("seconds", "fastest", "made"),
    [
        ([9.0, 1.0, 1.04], 1.0, 3),  # the first call is not counted; two that agree are enough
        ([9.0, 1.0, 1.2, 1.03], 1.0, 4),  # one fast call may be luck
        ([9.0, 1.2, 1.0, 1.1, 1.04], 1.0, 5),  # the two fastest agree, whatever came between
        ([9.0, *(1.1**power for power in range(MOST_UPDATES, 0, -1)), 0.1], 1.1, 1 + MOST_UPDATES),
        ([0.0, 3.0, 2.0, 0.1], 2.0, 3),  # time is up, but two calls are always made
    ],
)
def test_the_fastest_of_calls_that_agree(
    calls: Callable, seconds: list[float], fastest: float, made: int
) -> None:
    run = calls(seconds)
    most_seconds = 4.0 if len(seconds) < 9 else 1000.0
    assert steady_seconds(run, seconds=most_seconds) == pytest.approx(fastest)
    assert run.made == made


def test_a_trial_leaves_the_generators_and_threads_as_they_were() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with undisturbed(CPU):
        updates_of(trial_job(TINY, SETTINGS, CPU, torch.float32), threads=2)()
        torch.set_num_threads(2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 1


def test_updates_of_one_trial_go_on_with_the_same_weights() -> None:
    """Two functions in turn train what one function trains alone; another precision changes the numbers a little."""
    with undisturbed(CPU):
        alone = updates_of(trial_job(TINY, SETTINGS, CPU, torch.float32))
        expected = [alone() for _ in range(6)]
        job = trial_job(TINY, SETTINGS, CPU, torch.float32)
        one, other = updates_of(job), updates_of(job)
        assert [run() for _ in range(3) for run in (one, other)] == expected
        rounded = updates_of(trial_job(TINY, SETTINGS, CPU, torch.float32), precision=torch.bfloat16)
        coarse = [rounded() for _ in range(6)]
    assert coarse != expected
    assert coarse == pytest.approx(expected, rel=0.02)


def test_every_trial_of_a_shape_begins_alike() -> None:
    with undisturbed(CPU):
        first, second = (updates_of(trial_job(TINY, SETTINGS, CPU, torch.float32))() for _ in range(2))
    assert first == second
