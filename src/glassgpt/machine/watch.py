"""The best number of threads at the moment, adjusted while the same work is repeated.

Threads wait for each other at every small operation. When another program takes a core, the thread on that core
is late each time, and all others wait for it. Decoding a 124M model fell from 99 to 11 tokens per second this way,
while a single thread would have reached 60. So while a loop of equal units of work runs (updates, decode steps), a
`ThreadWatch` checks whether other programs are working or the units have become slow. If so, it tries each
alternative for a few units and takes the fastest. On a quiet machine it tries nothing and changes nothing.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Sequence

from glassgpt.machine.load import QUIET, Meter

SLOWER = 1.5
"""Units that take this many times as long as expected are a reason to check."""
FOLLOW = 0.1
"""Share by which the expected time follows the measured one: a growing cache makes each step a little longer."""
LEAD = 1.1
"""An alternative must be this many times as fast to be taken."""
ROUNDS = 3
"""Units of each alternative in a trial."""
LOOK_SECONDS = 0.25
"""Working time between two checks on other programs."""
FIRST_PAUSE = 16
"""Units after a trial before the next may begin; doubled each time a trial changes nothing."""
LONGEST_PAUSE = 1024


def alternatives(most: int) -> tuple[int, ...]:
    """Return the numbers of threads that are worth trying: all, half, a quarter ... down to one."""
    counts = []
    while most >= 1:
        counts.append(most)
        most //= 2
    return tuple(counts)


class _Pace:
    """The expected time of a unit, learned from the first units if not given, and whether recent units are slow."""

    def __init__(self, expected: float | None = None) -> None:
        self.expected = expected
        self._recent: deque[float] = deque(maxlen=5)

    def add(self, seconds: float) -> None:
        """Record the time of a unit."""
        self._recent.append(seconds)

    def begin_again(self, expected: float) -> None:
        """Forget the recent units, and set the expected time."""
        self.expected = expected
        self._recent.clear()

    @property
    def is_slow(self) -> bool:
        """Whether the recent units take clearly longer than expected; False while the expected time is unknown."""
        full = len(self._recent) == self._recent.maxlen and self.expected is not None
        return full and self.now > SLOWER * (self.expected or 0.0)

    @property
    def now(self) -> float:
        """Median seconds of the recent units."""
        return statistics.median(self._recent)

    def follow(self) -> None:
        """Move the expected time towards the measured one."""
        if len(self._recent) == self._recent.maxlen:
            expected = self.now if self.expected is None else self.expected
            self.expected = expected + FOLLOW * (self.now - expected)


class ThreadWatch:
    """Chooses the number of threads: read `threads` before each unit of work, and pass its seconds to `note` after it.

    `counts` are the numbers of threads that may be used, `usual` the one for a quiet machine (default: the first),
    `current` the one to begin with, `expected` the normal seconds of a unit (default: learned from the first units).
    `busy` returns how many cores others used since it was last called.
    """

    def __init__(
        self,
        counts: Sequence[int],
        *,
        usual: int | None = None,
        current: int | None = None,
        expected: float | None = None,
        busy: Callable[[], float] | None = None,
    ) -> None:
        self._counts = tuple(counts)
        self._usual = counts[0] if usual is None else usual
        self.current = self._usual if current is None else current
        self._pace = _Pace(expected)
        self._busy = busy or Meter().read
        self._trial: dict[int, list[float]] | None = None
        self._queue: list[int] = []
        self._since_trial = FIRST_PAUSE
        self._pause = FIRST_PAUSE
        self._worked = 0.0
        self.changed: str | None = None
        """A sentence about the last change; the reader sets it back to None."""

    @property
    def threads(self) -> int:
        """The number of threads for the next unit of work."""
        return self._queue[0] if self._queue else self.current

    def note(self, seconds: float) -> None:
        """Record how long the unit with `threads` took."""
        if len(self._counts) < 2:
            return
        if self._trial is not None:
            self._note_trial(seconds)
            return
        self._pace.add(seconds)
        self._since_trial += 1
        self._worked += seconds
        slow = self._pace.is_slow
        if self._since_trial >= self._pause and (slow or self._others_changed()):
            self._begin_trial()
        elif not slow:
            self._pace.follow()

    def _others_changed(self) -> bool:
        """Whether others work while we use all our threads, or have stopped since we took fewer."""
        if self._worked < LOOK_SECONDS:
            return False
        self._worked = 0.0
        others = self._busy()
        return others > QUIET if self.current == self._usual else others <= QUIET

    def _begin_trial(self) -> None:
        others = [count for count in self._counts if count != self.current]
        self._queue = [count for _ in range(ROUNDS) for count in (self.current, *others)]
        self._trial = {count: [] for count in self._queue}

    def _note_trial(self, seconds: float) -> None:
        assert self._trial is not None
        self._trial[self._queue.pop(0)].append(seconds)
        if self._queue:
            return
        found = {count: statistics.median(times) for count, times in self._trial.items()}
        best = min(found, key=lambda count: found[count])
        changes = found[self.current] > LEAD * found[best]
        if changes:
            self.changed = (
                f"{_threads(best)} from here on instead of {self.current}: that is "
                f"{found[self.current] / found[best]:.1f} times as fast while this machine is busy with other work."
            )
            self.current = best
        # A machine that is slow now may stay slow: the next check compares with now, not with faster times.
        self._pace.begin_again(expected=found[self.current])
        self._pause = FIRST_PAUSE if changes else min(2 * self._pause, LONGEST_PAUSE)
        self._trial, self._since_trial, self._worked = None, 0, 0.0


class SlownessWatch:
    """For work that keeps its number of threads: reports once if other programs make its units slow.

    Used like a `ThreadWatch`; its `threads` of 0 means the number that is already set.
    """

    threads = 0

    def __init__(self, *, busy: Callable[[], float] | None = None) -> None:
        self.current = 0
        self.changed: str | None = None
        self._busy = busy or Meter().read
        self._pace = _Pace()
        self._worked = 0.0
        self._said = False

    def note(self, seconds: float) -> None:
        """Record how long a unit took."""
        if self._said:
            return
        self._pace.add(seconds)
        self._worked += seconds
        slow = self._pace.is_slow
        if not slow:
            self._pace.follow()
        if self._worked < LOOK_SECONDS:
            return
        others, self._worked = self._busy(), 0.0  # read every time: it measures since its last call
        if slow and others > QUIET and self._pace.expected:
            self._said = True
            times = self._pace.now / self._pace.expected
            self.changed = (
                f"Updates take {times:.1f} times as long as before, and other programs keep about "
                f"{others:.1f} cores busy. This run keeps its number of threads, because another number would change "
                "its results. Let it continue, or stop it with Ctrl-C and resume it when they are done."
            )


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"
