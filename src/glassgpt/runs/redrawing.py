"""When the files that show a training are drawn: at its end, and meanwhile when they are old.

A picture needs all events again, so in a long run each drawing takes longer. It then happens less often, so that it
takes a small share of the training's time however long the run is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from glassgpt.training.events import Evaluated, Event, TrainingFinished

REDRAW_SECONDS = 20.0
"""The age at which a file is drawn again."""
REDRAW_SHARE = 0.01
"""The largest share of a training's time that drawing one file meanwhile may take."""


class Redrawn:
    """Listener that keeps a file up to date by drawing it again."""

    def __init__(self, what: str, draw: Callable[[], object], *, at_end: bool = True) -> None:
        """`what` is the name of the file. With `at_end=False` somebody else draws it when all is over."""
        self.what, self._draw, self._at_end = what, draw, at_end
        self._drawn, self._took = time.monotonic(), 0.0

    def __call__(self, event: Event) -> None:
        """Draw after the last event, and after an evaluation when the file is old."""
        old = max(REDRAW_SECONDS, self._took / REDRAW_SHARE)
        due = isinstance(event, Evaluated) and time.monotonic() - self._drawn > old
        if due or (self._at_end and isinstance(event, TrainingFinished)):
            began = time.monotonic()
            try:
                self._draw()
            finally:  # a failure takes time, too
                self._drawn = time.monotonic()
                self._took = self._drawn - began
