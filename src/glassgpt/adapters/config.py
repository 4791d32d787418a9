"""The settings of LoRA. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from glassgpt.errors import ConfigError, did_you_mean
from glassgpt.idle import OnlyWith

PARTS = ("query", "key", "value", "output", "gate", "up", "down")


@dataclass(frozen=True)
class LoRAConfig:
    """Which corrections are trained. Raises `ConfigError` for an invalid setting."""

    rank: int = 0
    """Rank of each correction; 0 trains the whole model instead."""
    alpha: float = 16.0
    """Corrections are multiplied by alpha / rank."""
    dropout: float = 0.0
    """Share of a correction's inputs that dropout removes during training."""
    targets: tuple[str, ...] = PARTS
    """Which matrices: query, key, value, output, gate, up, down."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(("alpha", "dropout", "targets"), "rank", test=lambda lora: lora.rank > 0, use="8"),
    )

    def __post_init__(self) -> None:
        if not 0 <= self.rank < 2**31:
            raise ConfigError(f"lora.rank = {self.rank}: it must be 0 (no LoRA) or more, and below 2**31.")
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"lora.alpha = {self.alpha}: it must be a number above 0.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora.dropout = {self.dropout}: it must be at least 0 and less than 1.")
        for target in self.targets:
            if target not in PARTS:
                raise ConfigError(
                    f"lora.targets: there is no matrix {target!r}.{did_you_mean(target, PARTS)} There are: "
                    f"{', '.join(PARTS)}."
                )
        if not self.targets:
            raise ConfigError(f"lora.targets names no matrix. Choose among: {', '.join(PARTS)}.")

    @property
    def scale(self) -> float:
        """What a correction is multiplied by."""
        return self.alpha / self.rank
