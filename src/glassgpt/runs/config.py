"""The whole configuration of a run: one section per package, each defined by that package's dataclass."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from glassgpt.corpus.cleaning import CleaningConfig
from glassgpt.corpus.splits import SplitConfig
from glassgpt.errors import ConfigError
from glassgpt.idle import OnlyWith
from glassgpt.model.config import ModelConfig
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.config import TrainingConfig


@dataclass(frozen=True)
class CorpusConfig:
    """Which text to train on."""

    sources: tuple[str, ...] = ("builtin:tinytales",)
    """Files, folders, globs, builtin:name, hf:owner/name[:split][#column], or a known corpus."""
    text_field: str | None = None
    """The field of .jsonl, .json, .csv and .parquet records that holds the text."""


@dataclass(frozen=True)
class PromptsConfig:
    """The samples that the model writes during training."""

    prompts: tuple[str, ...] = ("",)
    """Prompts to continue; an empty one starts a new document."""
    max_tokens: int = 120
    """Maximum number of tokens in each sample."""
    temperature: float = 0.8
    """0 always takes the likeliest token."""
    top_k: int = 50
    """Keep only the k likeliest tokens; 0 keeps all."""
    seed: int = 7
    """Seed of the draws, the same at each evaluation."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(("top_k", "seed"), "temperature", test=lambda samples: samples.temperature > 0, use="0.8"),
    )

    def __post_init__(self) -> None:
        if not 1 <= self.max_tokens < 2**63:
            raise ConfigError("samples.max_tokens must be from 1 to below 2**63.")
        if not 0 <= self.temperature < math.inf:
            raise ConfigError("samples.temperature must be 0 (greedy) or more.")
        if not 0 <= self.top_k < 2**63:
            raise ConfigError("samples.top_k must be 0 (off) or more.")
        if not 0 <= self.seed < 2**63:
            raise ConfigError("samples.seed must be from 0 to below 2**63.")


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run. `config.toml` in the run directory holds all of them."""

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    samples: PromptsConfig = field(default_factory=PromptsConfig)

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(
            ("model.vocab_size",),
            "tokenizer.vocab_size",
            test=lambda run: run.model.vocab_size == run.tokenizer.vocab_size,
            use="instead",
        ),
        OnlyWith(
            tuple(f"samples.{name}" for name in ("prompts", "max_tokens", "temperature", "top_k", "seed")),
            "training.sample_every",
            test=lambda run: run.training.sampling_interval > 0,
            use="100",
        ),
    )
