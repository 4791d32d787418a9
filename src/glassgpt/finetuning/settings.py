"""The settings that kinds of fine-tuning share. No torch here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeVar

from glassgpt.adapters.config import LoRAConfig
from glassgpt.errors import ConfigError
from glassgpt.idle import OnlyWith
from glassgpt.training.config import LoopConfig

Config = TypeVar("Config", bound="FineTuneConfig")


@dataclass(frozen=True)
class ShortTraining(LoopConfig):
    """Training of a pretrained model on little data. Most settings are those of pretraining."""

    epochs: float | None = 3
    """Number of passes over the data, unless `steps` are given."""
    batch_size: int = 8
    """Rows of one batch over all processes together, before accumulation."""
    learning_rate: float = 5e-4
    """Peak learning rate of AdamW. When left out, it is fitted to the base's width and the kind."""
    min_learning_rate: float = 0.0
    """Learning rate at the last step; Muon's falls in proportion."""
    warmup_steps: int = 10
    """Steps of linear warm-up from zero."""
    beta2: float = 0.999
    """Decay of AdamW's mean of squared gradients."""
    weight_decay: float = 0.0
    """Decoupled decay of matrices and embeddings; never of biases and norms."""
    evaluate_every: int = 50
    """Steps between evaluations on held-out data."""
    sample_every: int | None = 0
    """Steps between samples; with 0 there are only those before and after."""
    log_every: int = 5
    """Steps between lines in metrics.jsonl."""


@dataclass(frozen=True)
class ShownConfig:
    """What is shown before and after for comparison: a part of what the model is measured on."""

    count: int = 4
    """Number of held-out prompts to show."""
    seed: int = 7
    """Seed of the draws."""

    def __post_init__(self) -> None:
        for name in ("count", "seed"):
            if not 0 <= getattr(self, name) < 2**63:
                raise ConfigError(f"samples.{name} must be from 0 to below 2**63.")


@dataclass(frozen=True)
class SamplesConfig(ShownConfig):
    """What is written before and after for comparison."""

    count: int = 4
    """Number of held-out prompts to answer."""
    max_tokens: int = 96
    """Maximum number of tokens in each answer."""
    temperature: float = 0.0
    """0 always takes the likeliest token."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(("max_tokens", "temperature", "seed"), "count", test=lambda shown: shown.count > 0, use="4"),
        OnlyWith(("seed",), "temperature", test=lambda shown: shown.temperature > 0, use="0.8"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.max_tokens < 2**63:
            raise ConfigError("samples.max_tokens must be from 1 to below 2**63.")
        if not 0 <= self.temperature < math.inf:
            raise ConfigError("samples.temperature must be 0 (the likeliest token) or more.")


LORA = "--lora.rank 8, which trains only corrections"

SHOWN = OnlyWith(
    ("training.sample_every",), "samples.count", test=lambda config: config.samples.count > 0, use="4"
)


@dataclass(frozen=True)
class FineTuneConfig:
    """Settings of every kind of fine-tuning. A kind has only settings that it reads."""

    training: ShortTraining = field(default_factory=ShortTraining)

    @property
    def adapter(self) -> LoRAConfig:
        """The corrections to train instead of the whole model; of rank 0 where a kind has none."""
        return LoRAConfig()

    @property
    def fewer_trained(self) -> list[str]:
        """The options that train fewer weights, for a training that needs more memory than is free."""
        return []

    @property
    def shorter(self) -> list[str]:
        """The options that make an update smaller, beside those of `training`."""
        return []


@dataclass(frozen=True)
class RecordsConfig(FineTuneConfig):
    """Settings of kinds that learn from records."""

    validation: float = 0.1
    """Share of the records that is held out to measure on."""
    split_by: Literal["content", "place"] = "content"
    """How the held-out records are chosen. content: by their text, so that copies stay together. place: by their
    order, as in version 0.1.0."""
    lora: LoRAConfig = field(default_factory=LoRAConfig)

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ConfigError(f"validation is {self.validation}; it is a share between 0 and 1.")

    @property
    def adapter(self) -> LoRAConfig:
        """The corrections to train instead of the whole model, where their rank is not 0."""
        return self.lora

    @property
    def fewer_trained(self) -> list[str]:
        """LoRA, unless it is used already."""
        return [] if self.lora.rank else [LORA]


@dataclass(frozen=True)
class ChatConfig(RecordsConfig):
    """Settings of kinds that speak in turns."""

    template: Literal["auto", "chatml", "alpaca"] = "auto"
    """How turns are marked. auto: the base's template, else chatml, or with LoRA alpaca, which adds no tokens."""
    too_long: Literal["error", "skip"] = "error"
    """What to do with a record whose prompt leaves no room for an answer."""

    PLAIN: ClassVar[bool] = False
    """Whether a base without a template writes on plainly with `auto`."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        SHOWN,
        # Corrections are all matrices, so nothing is left for AdamW with Muon.
        OnlyWith(
            ("training.beta1", "training.beta2", "training.epsilon", "training.weight_decay"),
            "training.optimizer",
            test=lambda config: not config.lora.rank or config.training.optimizer != "muon",
            use="adamw",
        ),
    )


def without_usual_passes(config: Config, given: Collection[str]) -> Config:
    """Return the config without its default number of passes if steps were `given` instead."""
    if "training.steps" not in given or "training.epochs" in given:
        return config
    return dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=0))
