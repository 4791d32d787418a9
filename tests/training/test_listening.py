"""What only shows a training never ends it: its failure is said once, and the numbers stay the same to the last bit."""

from __future__ import annotations

import pytest
import torch

from glassgpt.errors import DiskFullError
from glassgpt.training.events import Event, StepsFinished
from glassgpt.training.listening import MOST_CHARACTERS


class Broken:
    what = "loss.png"

    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    def __call__(self, event: Event) -> None:
        self.calls += 1
        raise self.error


def test_a_listener_that_fails_is_named_once_and_the_training_continues(bench):
    """A run called `a$^$b` lost its weights to a traceback: its name, drawn above the loss, was no mathematics."""
    whole = bench(steps=6, log_every=1)
    whole.train()
    work, said = bench(steps=6, log_every=1), []
    broken = Broken(ValueError("\na$^$b\n ^\nParseException: " + "x" * 5000))
    work.job.say, work.job.listeners = said.append, [broken, work.events.append]
    assert work.train().step == 6
    assert [type(event) for event in work.events] == [type(event) for event in whole.events]
    assert broken.calls == len(whole.events)  # it may succeed later, for example when a disk has room again
    assert len(said) == 1
    assert said[0].startswith(
        "loss.png failed at step 0; the training continues. ValueError: a$^$b ^ ParseException:"
    )
    assert len(said[0]) < MOST_CHARACTERS + 80
    assert "\n" not in said[0]
    assert all(torch.equal(tensor, work.weights()[name]) for name, tensor in whole.weights().items())


def test_each_listener_is_named_once(bench):
    work, said = bench(steps=3), []

    def unnamed(event: Event) -> None:
        raise DiskFullError("The disk is full.")

    work.job.say, work.job.listeners = said.append, [Broken(OSError(28, "No space")), unnamed]
    work.train()
    assert len(said) == 2
    assert "The disk is full: a file could not be written." in said[0]
    assert "unnamed failed at step 0; the training continues. The disk is full." in said[1]


def test_what_a_run_cannot_do_without_ends_it(bench):
    """Without a line in `metrics.jsonl` a run could not be resumed as one that was never interrupted."""
    work = bench(steps=3)
    work.job.records = [Broken(DiskFullError("The disk is full."))]
    with pytest.raises(DiskFullError):
        work.train()


def test_ctrl_c_is_no_failure(bench):
    work = bench(steps=3)
    work.job.listeners = [Broken(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        work.train()


def test_who_passes_no_way_to_say_it_gets_a_warning(bench):
    work = bench(steps=3)
    work.job.listeners = [Broken(ValueError("no"))]
    with pytest.warns(UserWarning, match=r"loss.png failed at step 0"):
        assert work.train().step == 3
    assert not work.of(StepsFinished)
