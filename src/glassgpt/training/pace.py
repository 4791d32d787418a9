"""Finishing on time: how many updates fit into the seconds that a run may take.

A machine's speed is known only while it works, and other programs may use it, too. So a run with `training.seconds`
estimates again, at each line of its log, how many updates still fit. The schedule does not jump when that number
changes: its rest is stretched or squeezed to fit the rest of the run. Each such decision is part of the progress and
so of every checkpoint. Between two decisions a step depends only on its number, as in any other run.
"""

from __future__ import annotations

from glassgpt.training.config import LoopConfig
from glassgpt.training.state import Progress

MEMORY = 0.5
"""Share that the earlier estimate of an update's time keeps when a new measurement arrives."""


def place(progress: Progress, nominal: int) -> float:
    """Return the place of a run's next update on a schedule of `nominal` updates, from 0 to nominal - 1."""
    if progress.paced_at == 0 and progress.steps == nominal:
        return progress.step
    left = max(1, progress.steps - 1 - progress.paced_at)
    walked = (progress.step - progress.paced_at) / left
    return progress.paced_place + min(1.0, walked) * (nominal - 1 - progress.paced_place)


class Pacer:
    """Measures updates and pauses (evaluations, samples, checkpoints), and computes `progress.steps` from them."""

    def __init__(self, config: LoopConfig) -> None:
        self._config = config
        self._update = 0.0
        self._pause = 0.0

    def note_pause(self, seconds: float) -> None:
        """Remember how long the loop just paused to evaluate, sample and save."""
        self._pause = seconds

    def note_updates(self, seconds: float, count: int) -> None:
        """Remember how long the last updates took."""
        measured = seconds / count
        self._update = MEMORY * self._update + (1 - MEMORY) * measured if self._update else measured

    def steps(self, progress: Progress, elapsed: float) -> int:
        """Return how many updates the run will have made when its time is up, with time left for the last pause."""
        assert self._config.seconds is not None
        left = self._config.seconds - elapsed - self._pause
        each = self._update + self._pause / self._config.evaluate_every
        return progress.step + max(0, round(left / max(each, 1e-9)))


def repace(progress: Progress, steps: int, nominal: int) -> None:
    """Make the run end after `steps` updates and continue its schedule from the present place."""
    here = place(progress, nominal)
    progress.paced_at, progress.paced_place, progress.steps = progress.step, here, steps
