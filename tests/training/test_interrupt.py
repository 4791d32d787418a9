"""Real signals, sent to this process itself."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from glassgpt.training.events import StepsFinished, TrainingFinished
from glassgpt.training.interrupt import StopRequest, graceful_stop


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_everything_is_put_back(number: signal.Signals):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with graceful_stop() as stop:
        assert not stop
        send(number)
        assert stop
        assert stop.requested
    assert {each: signal.getsignal(each) for each in before} == before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_acts_as_usual(first: signal.Signals):
    """In any order: after SIGTERM the first Ctrl-C was once ignored."""

    def press_twice() -> None:
        with graceful_stop():
            send(first)
            send(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_inside_puts_the_handlers_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="inside"), graceful_stop():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_it_does_nothing():
    before = signal.getsignal(signal.SIGINT)
    seen: list[StopRequest] = []

    def work() -> None:
        with graceful_stop() as stop:
            assert signal.getsignal(signal.SIGINT) is before
            seen.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [bool(stop) for stop in seen] == [False]


def test_ctrl_c_during_training_ends_it_after_the_step_and_saves(bench):
    with graceful_stop() as stop:
        work = bench(steps=50, log_every=1, job={"stop": lambda: bool(stop)})

        def press_ctrl_c(event: object) -> None:
            if isinstance(event, StepsFinished) and event.step == 3:
                send(signal.SIGINT)

        work.job.listeners = [work.events.append, press_ctrl_c]
        finished = work.train()
    assert (finished.reason, finished.step) == ("interrupted", 3)
    assert [state.progress.step for state, _ in work.saved] == [3]
    assert type(work.events[-1]) is TrainingFinished
