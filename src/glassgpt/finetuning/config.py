"""The settings of fine-tuning: what all kinds share, and each kind's own. No torch here."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

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
class Reinforcement(ShortTraining):
    """Training by rewards: each update first writes its answers, so there are few updates."""

    epochs: float | None = None
    """Number of passes over the prompts, each answered by a group; when left out, `steps` decides."""
    steps: int = 100
    """Number of optimizer updates."""
    batch_size: int = 4
    """Prompts of one batch over all processes together, each answered by a group."""
    warmup_steps: int = 3
    """Steps of linear warm-up from zero."""
    beta2: float = 0.99
    """Decay of AdamW's mean of squared gradients."""
    evaluate_every: int = 10
    """Steps between evaluations on held-out data."""
    log_every: int = 1
    """Steps between lines in metrics.jsonl."""
    final_weights: Literal["best", "last"] = "last"
    """Which weights the run ends with: those with the highest measured reward (best), or the last ones."""


@dataclass(frozen=True)
class DistillTraining(ShortTraining):
    """Training of a student on text, with its rows in the teacher's order."""

    evaluate_tokens: int = 65_536
    """Maximum number of validation tokens per evaluation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.evaluate_tokens < 1:
            raise ConfigError("training.evaluate_tokens must be at least 1.")


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


@dataclass(frozen=True)
class StudentSamples(SamplesConfig):
    """What the student writes before and after, each text as a new document."""

    count: int = 4
    """Number of texts to write."""
    temperature: float = 0.8
    """0 always takes the likeliest token."""


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


@dataclass(frozen=True)
class RecordsConfig(FineTuneConfig):
    """Settings of kinds that learn from records."""

    validation: float = 0.1
    """Share of the records that is held out to measure on."""
    split_by: Literal["content", "place"] = "content"
    """What decides which records: their content, so that copies stay together, or their place, as in version 0.1.0."""
    lora: LoRAConfig = field(default_factory=LoRAConfig)

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ConfigError(f"validation is {self.validation}; it is a share between 0 and 1.")

    @property
    def adapter(self) -> LoRAConfig:
        """The corrections to train instead of the whole model, where their rank is not 0."""
        return self.lora


@dataclass(frozen=True)
class ChatConfig(RecordsConfig):
    """Settings of kinds that speak in turns."""

    template: Literal["auto", "chatml", "alpaca"] = "auto"
    """How turns are marked. auto: the base's template, else chatml, or with LoRA alpaca, which adds no tokens."""
    too_long: Literal["error", "skip"] = "error"
    """What to do with a record whose prompt leaves no room for an answer."""

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


@dataclass(frozen=True)
class SFTConfig(ChatConfig):
    """Supervised fine-tuning: learn the answers of conversations."""

    samples: SamplesConfig = field(default_factory=SamplesConfig)


@dataclass(frozen=True)
class DPOConfig(ChatConfig):
    """Direct preference optimization: prefer one answer to another."""

    samples: SamplesConfig = field(default_factory=SamplesConfig)
    beta: float = 0.1
    """How strongly the model is held to the base; a lower value lets it move further."""
    keep_equal: bool = False
    """Keep pairs whose two answers are equal, as version 0.1.0 did; nothing is learned from them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.beta < math.inf:
            raise ConfigError(f"beta is {self.beta}; it must be a number above 0.")


@dataclass(frozen=True)
class GRPOConfig(ChatConfig):
    """Group relative policy optimization: write answers, receive rewards, write more of what was rewarded."""

    training: Reinforcement = field(default_factory=Reinforcement)
    samples: ShownConfig = field(default_factory=ShownConfig)
    reward: tuple[str, ...] = ("tinytales",)
    """Rewards to add up: tinytales | words | arithmetic | length, or your own function as module:function."""
    words: tuple[str, ...] = ()
    """For `words`: what an answer should contain, if the record has no field `words`."""
    length: int | None = None
    """For `length`: the number of words that an answer should have, if the record has no field `length`."""
    group: int = 8
    """Number of answers to each prompt, which are compared with each other."""
    beta: float = 0.02
    """Weight of the divergence from the base; 0 leaves it out."""
    max_tokens: int = 128
    """Maximum number of tokens in each answer."""
    temperature: float = 1.0
    """Temperature of the answers in training. At 1 the model learns from its own distribution."""
    prompts: int = 64
    """Number of held-out answers to measure on."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        *ChatConfig.ONLY_WITH,
        OnlyWith(("words",), "reward", test=lambda config: "words" in config.reward, use="words"),
        OnlyWith(("length",), "reward", test=lambda config: "length" in config.reward, use="length"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.group < 2**31:
            raise ConfigError(
                f"group is {self.group}: answers are compared within a group, so it takes 2 or more."
            )
        if not 0 <= self.beta < math.inf:
            raise ConfigError(f"beta is {self.beta}; it must be a number of 0 or more.")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(
                "temperature must be a number above 0: without chance all answers of a group are the same."
            )
        if not all(1 <= number < 2**31 for number in (self.max_tokens, self.prompts, self.length or 1)):
            raise ConfigError("max_tokens, prompts and length must be at least 1, and below 2**31.")
        if not self.reward:
            raise ConfigError("Name at least one --reward.")


@dataclass(frozen=True)
class ClassifyConfig(RecordsConfig):
    """Classification: which of some labels a text has."""

    freeze: Literal["none", "all-but-last", "all"] = "none"
    """What stays frozen: nothing, every block but the last, or the whole model under the new head."""
    text_field: str | None = None
    """The field that holds the text; found by its usual names when left out."""
    label_field: str | None = None
    """The field that holds the label; found by its usual names when left out."""
    labels_as_written: bool = False
    """Keep spaces around labels and accept an empty label, as version 0.1.0 did."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(("training.sample_every",), "", test=lambda _: False, use="a classifier writes no samples"),
        OnlyWith(("training.checkpoint_activations",), "freeze", ("none", "all-but-last")),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora.rank and self.freeze != "none":
            raise ConfigError("LoRA freezes the base itself. Leave out --freeze or --lora.rank.")
        if self.training.optimizer == "muon" and self.freeze == "all":
            raise ConfigError(
                "--training.optimizer muon trains the matrices of the blocks, which --freeze all keeps frozen. "
                "Leave out one of the two."
            )


@dataclass(frozen=True)
class DistillConfig(FineTuneConfig):
    """Distillation: a small model learns the probabilities of a larger one, not only the text."""

    training: DistillTraining = field(default_factory=DistillTraining)
    samples: StudentSamples = field(default_factory=StudentSamples)
    layers: int = 2
    """Number of blocks of the student."""
    width: int | None = None
    """Width of the student's residual stream; half of the teacher's when left out. Heads keep their width."""
    temperature: float = 2.0
    """Softens both distributions, so that unlikely tokens also teach."""
    alpha: float = 0.5
    """Share of the loss that comes from the text; the rest comes from the teacher."""
    text_field: str | None = None
    """The field of .jsonl, .json, .csv and .parquet records that holds the text."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        SHOWN,
        OnlyWith(("temperature",), "alpha", test=lambda config: config.alpha < 1, use="0.5"),
    )

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}; it must be a number above 0.")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha is {self.alpha}; it is a share from 0 to 1.")
        if not all(1 <= size < 2**31 for size in (self.layers, self.width or 1)):
            raise ConfigError("layers and width must be at least 1, and below 2**31.")


KINDS: dict[str, type[FineTuneConfig]] = {
    "classify": ClassifyConfig,
    "sft": SFTConfig,
    "dpo": DPOConfig,
    "grpo": GRPOConfig,
    "distill": DistillConfig,
}


def without_usual_passes(config: Config, given: Collection[str]) -> Config:
    """Return the config without its default number of passes if steps were `given` instead."""
    if "training.steps" not in given or "training.epochs" in given:
        return config
    return dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=0))


RETIRED = (
    "training.order", "training.stride", "training.evaluate_tokens", "samples", "samples.max_tokens",
    "samples.temperature", "lora", "validation", "split_by",
)  # fmt: skip
"""Settings that kinds had in version 0.1.0 but did not read. The files of old runs contain them."""


def without_retired(kind: type[FineTuneConfig], values: dict[str, Any]) -> dict[str, Any]:
    """Return settings read from a file, without those that the kind no longer has (see `RETIRED`)."""
    return {
        key: _without(section, value, key)
        if isinstance(value, dict) and (section := _type_of(kind, key))
        else value
        for key, value in values.items()
        if _type_of(kind, key) or key not in RETIRED
    }


def _without(section: type, values: dict[str, Any], name: str) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(section)}
    return {key: value for key, value in values.items() if key in known or f"{name}.{key}" not in RETIRED}


def _type_of(kind: type, name: str) -> Any:
    return typing.get_type_hints(kind).get(name)
