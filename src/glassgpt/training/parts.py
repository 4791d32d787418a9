"""The optimizers a training may use: what builds each, what it keeps in memory, and how a plan sets it.

One entry is all that an optimizer needs. `glassgpt.optimizers` is the entry point of those from elsewhere (see
`docs/extending.md`). Nothing here imports torch: functions are named by their place, and looked up when a training
begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from glassgpt.registry import Registry, imported


@dataclass(frozen=True, slots=True)
class OptimizerPart:
    """An optimizer by its facts."""

    build: str | Callable[..., Any]
    """Called with (model, config), it returns a `torch.optim.Optimizer`; a function, or `module:name` of one.

    A group's `rate` is its peak learning rate over `config.learning_rate`; without one it is 1.
    """
    kept: Callable[[int, int], int]
    """Given the numbers in the matrices of the blocks and in all other weights: how many it keeps beside them."""
    plan: Callable[[int, int], dict[str, float]]
    """Given the updates of a run and the width of its model: the settings that a plan gives it."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """Settings of its own with their defaults, for `training.optimizer_settings`."""

    @property
    def make(self) -> Callable[..., Any]:
        """What builds it."""
        return imported(self.build) if isinstance(self.build, str) else self.build


def adamw_plan(steps: int, width: int) -> dict[str, float]:
    """Return AdamW's learning rate for all weights: a fifth of what it takes for embeddings and head beside Muon."""
    return {"learning_rate": 0.2 * _adamw_rate(steps, width), "weight_decay": 0.1, "beta2": 0.95}


def muon_plan(steps: int, width: int) -> dict[str, float]:
    """Return the learning rates of AdamW's part and of Muon's matrices: lower in longer runs and wider models.

    That of the matrices falls from 0.04 in 60 updates to 0.01 in 1,920. Longer runs were not measured and keep that.
    """
    matrices = max(0.01, 0.04 * (60 / max(60, steps)) ** 0.4)
    return {
        "learning_rate": _adamw_rate(steps, width),
        "matrix_learning_rate": matrices,
        "matrix_weight_decay": 0.3,
        "weight_decay": 0.1,
        "beta2": 0.95,
    }


def _adamw_rate(steps: int, width: int) -> float:
    return 0.02 * (60 / max(60, steps)) ** 0.15 * (128 / width) ** 0.5


OPTIMIZERS = Registry(
    "optimizers",
    OptimizerPart,
    {
        "adamw": OptimizerPart(
            "glassgpt.training.optimizers:adamw",
            kept=lambda matrices, others: 2 * (matrices + others),
            plan=adamw_plan,
        ),
        "muon": OptimizerPart(
            "glassgpt.training.optimizers:muon",
            kept=lambda matrices, others: matrices + 2 * others,
            plan=muon_plan,
        ),
    },
)
