"""Learning-rate schedules: pure functions of the step, so a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from glassgpt.training.config import LoopConfig


def learning_rate(step: float, steps: int, config: LoopConfig) -> float:
    """Return the learning rate of update `step` (0-based) out of `steps`.

    Warm-up rises linearly and reaches the peak at update `warmup_steps`; the schedule then falls from `learning_rate`
    to `min_learning_rate`, which the last update has. `step` is a fraction in a run with a time limit. "constant"
    stays at the peak, and so does the last update when the warm-up takes all the others.
    """
    warmup = min(config.warmup_steps, steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    height = config.learning_rate - config.min_learning_rate
    return config.min_learning_rate + height * _shape(min(1.0, progress), config)


def _shape(progress: float, config: LoopConfig) -> float:
    """Return the share of the fall that remains, from 1 to 0 as `progress` goes from 0 to 1."""
    match config.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - progress
        case "cosine":  # Loshchilov and Hutter 2017, "SGDR", equation 5
            return 0.5 * (1.0 + math.cos(math.pi * progress))
        case "wsd":  # Hu et al. 2024, "MiniCPM", section 4: warm up, hold, decay
            return min(1.0, (1.0 - progress) / config.decay_share)
