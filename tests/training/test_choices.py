"""Choices of threads and precision: measured once, kept, and then always the same; given ones are never measured."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from glassgpt.device import available_cores
from glassgpt.machine import kept
from glassgpt.machine.compare import Comparison
from glassgpt.machine.watch import SlownessWatch, ThreadWatch
from glassgpt.model.config import ModelConfig
from glassgpt.training import choices
from glassgpt.training.choices import Choice, choose, seconds_per_update, settled, thread_watch
from glassgpt.training.config import TrainingConfig

CPU = torch.device("cpu")
MODEL = ModelConfig(vocab_size=300, context_length=8, n_layer=1, n_head=1, n_embd=16)
TRAINING = TrainingConfig(batch_size=2, precision="auto")
pytestmark = pytest.mark.usefixtures("all_cores")
two_cores = pytest.mark.usefixtures("more_cores")


@pytest.fixture
def more_cores(all_cores: None) -> None:
    if available_cores() < 2:
        pytest.skip("one core leaves no choice")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, measuring: None) -> None:
    """A machine on which no other program works."""
    kept.forget()
    monkeypatch.setattr(choices, "used_by_others", lambda: 0.0)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch):
    """Comparisons with the results that a test sets; each real update is made once, and all are counted."""
    asked: list[float] = []

    def script(*answers: tuple[float, bool | None]) -> list[float]:
        waiting = list(answers)

        def compare(usual, other, *, lead, seconds=5.0):
            usual(), other()  # the trials themselves must run
            asked.append(lead)
            ratio, wins = waiting.pop(0)
            return Comparison(ratio, 0.01, 5, wins, 0.1 * ratio, 0.1)

        monkeypatch.setattr(choices, "compare", compare)
        monkeypatch.setattr(choices, "bfloat16_products_gain", lambda _device: True)
        return asked

    return script


@two_cores
def test_what_was_measured_once_is_not_measured_again(quiet: None, says) -> None:
    """`make demo` took one thread in one call and two in the next, and sometimes bfloat16."""
    asked = says((0.6, False), (1.4, True))
    first = choose(MODEL, TRAINING, CPU)
    assert first == Choice(available_cores(), torch.bfloat16)
    for _ in range(10):
        assert choose(MODEL, TRAINING, CPU) == first
    assert len(asked) == 2
    assert {answer.choice for answer in kept.all_kept().values()} == {str(first.threads), "bfloat16"}


@two_cores
def test_noise_takes_all_cores_and_float32_says_so_and_is_not_kept(quiet: None, says) -> None:
    says((1.3, None), (1.25, None))
    said: list[str] = []
    assert choose(MODEL, TRAINING, CPU, say=said.append) == Choice(available_cores(), torch.float32)
    assert "too noisy to choose the number of threads" in said[0]
    assert "too noisy to judge bfloat16" in said[1]
    assert kept.all_kept() == {}


@two_cores
def test_beside_other_programs_fewer_threads_are_used_but_not_kept(
    quiet: None, says, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = available_cores()
    says((0.6, False))
    settings = dataclasses.replace(TRAINING, precision="float32")
    assert choose(MODEL, settings, CPU).threads == cores
    monkeypatch.setattr(choices, "used_by_others", lambda: cores / 2)
    says(*[(2.0, True)] * (cores.bit_length() - 1))
    said: list[str] = []
    assert choose(MODEL, settings, CPU, say=said.append).threads == 1
    assert "Other programs keep about" in said[0]
    assert "1 thread, which is" in said[0]
    assert choose(MODEL, settings, CPU).threads == 1  # the training after the plan does not ask again
    monkeypatch.setattr(choices, "used_by_others", lambda: 0.0)
    assert choose(MODEL, settings, CPU).threads == cores  # what was kept when it was quiet


def test_what_is_given_is_taken_and_nothing_is_measured(quiet: None, says) -> None:
    asked = says()
    given = TrainingConfig(threads=3, precision="bfloat16")
    assert choose(MODEL, given, CPU) == Choice(3, torch.bfloat16)
    assert asked == []


def test_processes_that_share_the_machine_do_not_measure_beside_each_other(quiet: None, says) -> None:
    asked = says()
    assert choose(MODEL, TRAINING, CPU, processes=2) == Choice(max(1, available_cores() // 2), torch.float32)
    assert asked == []


def test_measuring_can_be_switched_off(says) -> None:
    asked = says()
    assert choose(MODEL, TRAINING, CPU) == Choice(available_cores(), torch.float32)
    assert asked == []


def test_without_quicker_products_no_update_in_bfloat16_is_tried(
    quiet: None, says, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an update takes hundreds of times as long without hardware for it."""
    asked = says()
    monkeypatch.setattr(choices, "bfloat16_products_gain", lambda _device: False)
    assert choose(MODEL, dataclasses.replace(TRAINING, threads=1), CPU).precision == torch.float32
    assert asked == []


def test_a_run_keeps_what_was_decided_and_a_paced_one_leaves_threads_open(quiet: None, says) -> None:
    threads = torch.get_num_threads()
    try:
        given = dataclasses.replace(TRAINING, threads=1)
        says((1.0, False))
        assert settled(given, MODEL, CPU).precision == "float32"
        says((0.5, False))
        open_ = dataclasses.replace(TRAINING, precision="float32")
        assert settled(open_, MODEL, CPU).threads == available_cores() == torch.get_num_threads()
        assert settled(open_, MODEL, CPU, paced=True).threads == 0
    finally:
        torch.set_num_threads(threads)


@two_cores
@two_cores
def test_only_a_paced_run_with_open_threads_may_change_them(measuring: None) -> None:
    """Every other run promises the same bits however often it is interrupted."""
    paced = TrainingConfig(seconds=10.0)
    assert isinstance(thread_watch(MODEL, paced, CPU), ThreadWatch)
    assert isinstance(thread_watch(MODEL, TrainingConfig(), CPU), SlownessWatch)
    assert isinstance(thread_watch(MODEL, dataclasses.replace(paced, threads=2), CPU), SlownessWatch)
    assert thread_watch(MODEL, paced, CPU, processes=2) is None


def test_measuring_leaves_random_numbers_and_threads_alone(quiet: None) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    choose(MODEL, TRAINING, CPU, seconds=0.1)
    seconds = seconds_per_update(
        MODEL, dataclasses.replace(TRAINING, optimizer="muon", threads=1), CPU, torch.float32
    )
    assert seconds > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_the_time_of_an_update_is_kept_while_the_machine_is_quiet(
    quiet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three calls of `plan` in a row planned with 13,000, 23,200 and 24,300 tokens/s."""
    settings = dataclasses.replace(TRAINING, threads=1)
    first = seconds_per_update(MODEL, settings, CPU, torch.float32)
    assert seconds_per_update(MODEL, settings, CPU, torch.float32) == first
    question = next(iter(kept.all_kept()))
    kept.keep(question, "measured", seconds=123.0)
    assert seconds_per_update(MODEL, settings, CPU, torch.float32) == 123.0
    monkeypatch.setattr(choices, "used_by_others", lambda: 1.0)
    assert seconds_per_update(MODEL, settings, CPU, torch.float32) < 123.0
    assert kept.all_kept()[question].figures["seconds"] == 123.0


def test_other_shapes_are_other_questions(quiet: None) -> None:
    settings = dataclasses.replace(TRAINING, threads=1)
    for model in (MODEL, dataclasses.replace(MODEL, n_layer=3), dataclasses.replace(MODEL, n_embd=32)):
        seconds_per_update(model, settings, CPU, torch.float32)
    seconds_per_update(MODEL, dataclasses.replace(settings, batch_size=4), CPU, torch.float32)
    seconds_per_update(MODEL, settings, CPU, torch.bfloat16)
    assert len(kept.all_kept()) == 5
