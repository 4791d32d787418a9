"""Who hears of a training, and what happens when one of them fails.

Pictures, reports, trackers and the progress line only show a training. None of them may end it: a failure is said once,
and the training continues. Ctrl-C is no failure and is passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glassgpt.system import explained
from glassgpt.training.events import Event, Listener

MOST_CHARACTERS = 300
"""Longest reason that is quoted from a library."""


def failure_of(act: Callable[[], object]) -> str | None:
    """Call a function; return in one line why it failed, or None when it did not."""
    try:
        act()
    except Exception as error:
        return _reason(explained(error) or error)
    return None


def without_ending(what: str, act: Callable[[], object], say: Callable[[str], None]) -> None:
    """Call a function that only shows a training; if it fails, say so and return."""
    if reason := failure_of(act):
        say(f"{what} could not be made; the training is not affected. {reason}")


class Audience:
    """The listeners of a training, called in order."""

    def __init__(self, listeners: Sequence[Listener], say: Callable[[str], None]) -> None:
        self._listeners, self._say = listeners, say
        self._failed: set[int] = set()

    def __call__(self, event: Event) -> None:
        """Send an event to every listener. One that failed gets later events, too: a full disk may have room again."""
        for number, listener in enumerate(self._listeners):
            reason = failure_of(lambda listener=listener: listener(event))
            if reason and number not in self._failed:
                self._failed.add(number)
                self._say(f"{_name(listener)} failed at step {event.step}; the training continues. {reason}")


def _name(listener: Listener) -> str:
    """Return what a person knows a listener as: its `what`, else its name in the code."""
    return getattr(listener, "what", None) or getattr(listener, "__qualname__", type(listener).__qualname__)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."
    ours = type(error).__module__.startswith("glassgpt.")
    return text if ours else f"{type(error).__name__}: {text}".removesuffix(": ")
