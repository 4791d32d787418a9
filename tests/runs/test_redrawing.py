"""Files that show a training are drawn at its end, and meanwhile when they are old, in a small share of the time."""

from __future__ import annotations

import pytest

from glassgpt.runs import redrawing
from glassgpt.runs.redrawing import Redrawn
from glassgpt.training.events import Evaluated, Event, StepsFinished, TrainingFinished

EVALUATED = Evaluated(1, 1.0, 1.0, 1.0, True, 1, 1.0)
UPDATED = StepsFinished(1, 1.0, 1.0, 1.0, 1, 1.0, 1.0)
FINISHED = TrainingFinished(1, "finished", 1.0, 1, 1.0)


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Drawing:
    """A file that takes some seconds to draw."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds, self.count = clock, seconds, 0

    def __call__(self) -> None:
        self.clock.now += self.seconds
        self.count += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(redrawing, "time", clock)
    return clock


def heard(listener: Redrawn, clock: Clock, *, seconds: float, every: float, event: Event = EVALUATED) -> None:
    """Send an event every few seconds, for some seconds."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now += every
        listener(event)


def test_a_file_is_drawn_when_it_is_old(clock):
    draw = Drawing(clock, 0.0)
    heard(Redrawn("a.png", draw), clock, seconds=redrawing.REDRAW_SECONDS * 5.5, every=1)
    assert draw.count == 5


def test_slow_drawing_takes_a_small_share_of_the_time(clock):
    draw = Drawing(clock, 3.0)
    began = clock.now
    heard(Redrawn("a.png", draw), clock, seconds=10_000, every=10)
    assert draw.count > 5
    assert draw.count * 3 <= redrawing.REDRAW_SHARE * (clock.now - began) + 3


def test_a_drawing_that_fails_is_not_tried_at_each_evaluation(clock):
    def fail() -> None:
        draw()
        raise ValueError("no")

    draw = Drawing(clock, 3.0)
    listener = Redrawn("a.png", fail)
    clock.now += 1000
    with pytest.raises(ValueError, match="no"):
        listener(EVALUATED)
    heard(listener, clock, seconds=100, every=10)
    assert draw.count == 1


@pytest.mark.parametrize(("event", "at_end", "count"), [
    (UPDATED, True, 0),  # between evaluations nothing changes that is worth the time
    (FINISHED, True, 1),
    (FINISHED, False, 0),
])  # fmt: skip
def test_what_is_drawn_at_other_events(clock, event, at_end, count):
    draw = Drawing(clock, 0.1)
    listener = Redrawn("a.png", draw, at_end=at_end)
    heard(listener, clock, seconds=1000, every=1000, event=event)
    assert draw.count == count


def test_the_end_is_drawn_however_new_the_file_is(clock):
    draw = Drawing(clock, 0.1)
    listener = Redrawn("a.png", draw)
    listener(FINISHED)
    assert draw.count == 1
    assert listener.what == "a.png"
