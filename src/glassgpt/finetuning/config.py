"""The kinds of fine-tuning by name, and each kind's own settings. No torch here.

A kind is its settings and its entry in `KINDS`, both here, and a module with its `build`. The settings that kinds share
are in `settings.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from glassgpt.errors import ConfigError
from glassgpt.finetuning.settings import (
    LORA,
    SHOWN,
    ChatConfig,
    FineTuneConfig,
    RecordsConfig,
    SamplesConfig,
    ShortTraining,
    ShownConfig,
)
from glassgpt.idle import OnlyWith, refuse_idle
from glassgpt.registry import Registry


@dataclass(frozen=True)
class Reinforcement(ShortTraining):
    """Training by rewards: each update first writes its answers, so there are few updates."""

    epochs: float | None = None
    """Number of passes over the prompts. It replaces `steps`; 0 means not set."""
    steps: int = 100
    """Number of optimizer updates."""
    batch_size: int = 4
    """Prompts of one batch over all processes together. Each gets a group of answers."""
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
class StudentSamples(SamplesConfig):
    """What the student writes before and after, each text as a new document."""

    count: int = 4
    """Number of texts to write."""
    temperature: float = 0.8
    """0 always takes the likeliest token."""


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

    PLAIN: ClassVar[bool] = True

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

    @property
    def shorter(self) -> list[str]:
        """Shorter answers, and fewer to compare."""
        return ["fewer --max-tokens", *(["a smaller --group"] if self.group > 2 else [])]


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

    @property
    def fewer_trained(self) -> list[str]:
        """A frozen base, or LoRA, unless one of them is used already."""
        if self.lora.rank:
            return []
        frozen = ["--freeze all"] if self.freeze != "all" else []
        return [*frozen, LORA] if self.freeze == "none" else frozen


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

    @property
    def fewer_trained(self) -> list[str]:
        """A smaller student."""
        return ["fewer --layers", "a smaller --width"]


FROM_NOTHING = (OnlyWith(("validation", "split_by", "too_long"), "DATA", test=lambda said: said["DATA"]),)
"""Settings that grpo reads only with records."""

Check = Callable[[str, Sequence[str], Any, Collection[str]], None]
"""Takes RUN, DATA, the settings, and the names of those that the command line gives."""


def _no_check(_run: str, _data: Sequence[str], _config: Any, _given: Collection[str]) -> None:
    pass


def _check_grpo(_run: str, data: Sequence[str], _config: GRPOConfig, given: Collection[str]) -> None:
    refuse_idle({"DATA": data}, given, FROM_NOTHING)


def _check_distill(run: str, data: Sequence[str], config: DistillConfig, _given: Collection[str]) -> None:
    if config.text_field is not None:
        from glassgpt.corpus.sources import refuse_idle_field
        from glassgpt.runs.directory import find_run
        from glassgpt.runs.reading import read_config

        refuse_idle_field(data or read_config(find_run(run)).corpus.sources)


TAKEN = ("kind", "base", "package", "run", "data", "name", "minutes", "track", "config", "options", "given")
"""Names that a kind's own settings cannot have: `finetune.toml` and every command use them."""


@dataclass(frozen=True)
class Kind:
    """One kind of fine-tuning. `glassgpt.kinds` is the entry point of those from elsewhere (see docs/extending.md).

    The command line imports it to show its help, so its module should not import torch. What computes is named by its
    place, "module:function", and is imported when a run begins.
    """

    config: type[FineTuneConfig]
    """The class of its settings, each with a default. Every kind has its own class."""
    build: str
    """Place of a function that takes a `Start` and the settings and returns a `Task` (see `task.py`)."""
    help: str
    """What the command does."""
    data: str
    """What DATA is."""
    run: str = "The base: a run's name or path, or latest."
    """What RUN is."""
    compared: bool = False
    """Whether answers are compared with the base's, so that nothing may be dropped at random."""
    rate: float = 1.0
    """Factor of the usual learning rate."""
    needs: str | None = None
    """Place of a function that takes a `Start` and the settings and returns the memory of an update (`TrainingBytes`),
    for a kind that allocates much in `build`, or has other batches than `RowBatches`."""
    measure: str | None = None
    """Place of a function that measures a finished run on other records. It takes a `Start` with that run as its base
    and the records as its data, and the settings, and returns the number of examples and a `Measured`. Without it,
    other records are measured as text."""
    folders: bool = False
    """Whether DATA may be a folder with a folder of texts for each label."""
    check: Check = _no_check
    """Raises `ConfigError` for a command line that cannot be, before torch is imported."""

    def __post_init__(self) -> None:
        if taken := [field.name for field in dataclasses.fields(self.config) if field.name in TAKEN]:
            raise ConfigError(
                f"{self.config.__name__} has a setting {taken[0]!r}, which every kind of fine-tuning has already: "
                "choose another name."
            )


KINDS = Registry(
    "kinds",
    Kind,
    {
        "sft": Kind(
            SFTConfig,
            build="glassgpt.finetuning.sft:build",
            measure="glassgpt.finetuning.sft:measure_records",
            help="Learn to answer, from instructions or conversations. Then `glassgpt chat` holds a conversation.",
            data="Files of records: Alpaca, messages, ShareGPT, prompt and completion (.json, .jsonl, .csv, .parquet).",
        ),
        "dpo": Kind(
            DPOConfig,
            build="glassgpt.finetuning.dpo:build",
            measure="glassgpt.finetuning.dpo:measure_records",
            help="Learn to prefer the better of two answers. Begin from a run that can answer.",
            data="Files of records with a prompt, chosen and rejected.",
            compared=True,
            rate=0.1,  # in larger steps it forgets how to speak while it learns what not to say
        ),
        "grpo": Kind(
            GRPOConfig,
            build="glassgpt.finetuning.grpo:build",
            measure="glassgpt.finetuning.grpo:measure_records",
            help="Learn from rewards that a function computes: the model writes, is rewarded, and writes more of "
            "what was rewarded.",
            data="Files of records with prompts; without files the model writes from an empty prompt, as in "
            "pretraining.",
            compared=True,
            needs="glassgpt.finetuning.grpo:needed_by_answers",
            check=_check_grpo,
        ),
        "classify": Kind(
            ClassifyConfig,
            build="glassgpt.finetuning.classify:build",
            measure="glassgpt.finetuning.classify:measure_records",
            folders=True,
            help="Learn to classify texts by label. Then `glassgpt classify RUN TEXT` prints the label of a text.",
            data="Files of records with a text and a label, or a folder with a folder of .txt files for each label.",
        ),
        "distill": Kind(
            DistillConfig,
            build="glassgpt.finetuning.distill:build",
            help="Train a smaller model, the student, to imitate a run, the teacher.",
            run="The teacher: a run's name or path, or latest.",
            data="Text to learn from, as for `glassgpt train`; the teacher's own when left out.",
            needs="glassgpt.finetuning.distill:needed_by_student",
            check=_check_distill,
        ),
    },
)


def kind_name(config: FineTuneConfig) -> str:
    """Return the name of the kind that has these settings. Raises `ConfigError` when there is none."""
    for name in KINDS:
        try:
            kind = KINDS[name]
        except ConfigError:  # of a broken package, which cannot have made the settings
            continue
        if kind.config is type(config):
            return name
    raise ConfigError(
        f"No kind of fine-tuning has the settings {type(config).__name__}. Add it with KINDS.add(NAME, Kind(...)), or "
        "name it as an entry point of glassgpt.kinds."
    )
