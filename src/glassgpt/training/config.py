"""The settings of training, as frozen dataclasses. torch is not imported, so a recipe can be read without it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from glassgpt.errors import ConfigError, did_you_mean
from glassgpt.idle import OnlyWith
from glassgpt.training.parts import OPTIMIZERS


@dataclass(frozen=True)
class LoopConfig:
    """Settings of every training, on text or on records. Raises `ConfigError` for an invalid setting."""

    steps: int = 1000
    """Number of optimizer updates."""
    epochs: float | None = None
    """Number of passes over the data. It replaces `steps`; 0 means not set."""
    seconds: float | None = None
    """Finish after about this many seconds of training. The schedule is fitted to the speed of the machine, and
    `steps` is only its first estimate."""
    batch_size: int = 12
    """Rows of one batch over all processes together, before accumulation."""
    accumulate: int = 1
    """Batches whose gradients are averaged into one update."""
    optimizer: str = "adamw"
    """adamw for all weights, muon for the matrices of the blocks and AdamW for the rest, or one of a package's."""
    optimizer_settings: dict[str, float] | None = None
    """Settings of a package's optimizer, by its own names."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    min_learning_rate: float = 1e-4
    """Learning rate at the last step; Muon's falls in proportion."""
    matrix_learning_rate: float = 0.02
    """Peak learning rate of Muon."""
    matrix_weight_decay: float = 0.0
    """Muon's decoupled decay."""
    momentum: float = 0.95
    """Muon's momentum."""
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    """Shape after the warm-up: cosine, linear, warm-up-stable-decay (wsd), or constant."""
    warmup_steps: int = 100
    """Steps of linear warm-up from zero."""
    decay_share: float = 0.2
    """Share of the steps after the warm-up that "wsd" spends decaying."""
    beta1: float = 0.9
    """Decay of AdamW's mean of gradients."""
    beta2: float = 0.99
    """Decay of AdamW's mean of squared gradients."""
    epsilon: float = 1e-8
    """AdamW's epsilon."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices and embeddings; never of biases and norms."""
    clip: float = 1.0
    """Largest allowed norm of all gradients together; 0 does not clip."""
    evaluate_every: int = 100
    """Steps between evaluations of the validation loss."""
    sample_every: int | None = None
    """Steps between samples; evaluate_every when left out, 0 for no samples."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; evaluate_every when left out."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep, in addition to the best one."""
    keep_every: int = 0
    """Steps between weights that are kept for good, so that you can see how the model learned; 0 keeps none."""
    final_weights: Literal["best", "last"] = "best"
    """Which weights the run ends with: those with the lowest validation loss, or the last ones."""
    patience: int = 0
    """Stop after this many evaluations without a new best loss; 0 never stops early."""
    log_every: int = 10
    """Steps between lines in metrics.jsonl."""
    seed: int = 1337
    """Seed of weights, data order and dropout."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto takes bfloat16 only where a measurement shows that it is faster on this machine."""
    threads: int = 0
    """CPU threads; 0 takes one per core."""
    compile: bool = False
    """Compile the model's blocks with torch.compile."""
    checkpoint_activations: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more time."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(("momentum", "matrix_learning_rate", "matrix_weight_decay"), "optimizer", ("muon",)),
        OnlyWith(("decay_share",), "schedule", ("wsd",)),
        OnlyWith(
            ("min_learning_rate",),
            "schedule",
            # A constant rate that ends where it begins is stated twice.
            test=lambda loop: loop.schedule != "constant" or loop.min_learning_rate == loop.learning_rate,
            use="cosine, linear or wsd",
        ),
        OnlyWith(("steps",), "epochs", test=lambda loop: not loop.epochs, use="0"),
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _require(not isinstance(value, float) or math.isfinite(value), field.name, "a finite number")
            _require(not isinstance(value, int) or value < 2**63, field.name, "below 2**63")
        self._check_optimizer()
        for name in ("steps", "batch_size", "accumulate", "evaluate_every", "log_every"):
            _require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("warmup_steps", "patience", "threads", "seed", "sample_every", "keep_every"):
            _require((getattr(self, name) or 0) >= 0, name, "0 or more")
        _require(
            self.checkpoint_every is None or self.checkpoint_every >= 1, "checkpoint_every", "at least 1"
        )
        _require(self.keep_checkpoints >= 1, "keep_checkpoints", "at least 1")
        _require(self.epochs is None or self.epochs >= 0, "epochs", "0 (off) or more")
        _require(self.seconds is None or self.seconds > 0, "seconds", "greater than 0")
        _require(self.learning_rate > 0, "learning_rate", "greater than 0")
        highest = math.inf if self.schedule == "constant" else self.learning_rate  # which never falls
        _require(0 <= self.min_learning_rate <= highest, "min_learning_rate", "from 0 to learning_rate")
        _require(self.matrix_learning_rate > 0, "matrix_learning_rate", "greater than 0")
        _require(self.matrix_weight_decay >= 0, "matrix_weight_decay", "0 or more")
        _require(0 <= self.momentum < 1, "momentum", "from 0 to below 1")
        _require(0 <= self.beta1 < 1, "beta1", "from 0 to below 1")
        _require(0 <= self.beta2 < 1, "beta2", "from 0 to below 1")
        _require(0 < self.decay_share <= 1, "decay_share", "above 0 and at most 1")
        _require(self.epsilon > 0, "epsilon", "greater than 0")
        _require(self.weight_decay >= 0, "weight_decay", "0 or more")
        _require(self.clip >= 0, "clip", "0 or more")

    def _check_optimizer(self) -> None:
        known = OPTIMIZERS[self.optimizer].settings
        for name, value in (self.optimizer_settings or {}).items():
            if name not in known:
                raise ConfigError(
                    f"training.optimizer_settings: {self.optimizer} has no setting {name!r}."
                    f"{did_you_mean(name, known, most=1)} It has: {', '.join(known) or 'none of its own'}."
                )
            _require(math.isfinite(value), f"optimizer_settings.{name}", "a finite number")

    def updates(self, steps_per_epoch: float) -> int:
        """Return the total number of updates: those of `epochs` where that is set, else `steps`."""
        if not self.epochs:
            return self.steps
        return max(1, math.ceil(self.epochs * steps_per_epoch / self.accumulate))

    @property
    def sampling_interval(self) -> int:
        """Steps between samples; 0 for none."""
        return self.evaluate_every if self.sample_every is None else self.sample_every

    @property
    def checkpoint_interval(self) -> int:
        """Steps between checkpoints."""
        return self.checkpoint_every or self.evaluate_every

    def keeps_weights_of(self, step: int, steps: int) -> bool:
        """Return whether the weights before the update of a step are kept for good: every few steps, and at the end."""
        return self.keep_every > 0 and (step % self.keep_every == 0 or step >= steps)


@dataclass(frozen=True)
class TrainingConfig(LoopConfig):
    """How a model is trained on text."""

    order: Literal["random", "windows", "documents"] = "random"
    """Rows at random offsets, every window once per epoch, or every document once per epoch. The last also measures
    the validation loss on whole documents."""
    stride: int | None = None
    """Distance between windows in order "windows"; the context length when left out."""
    evaluate_tokens: int = 65_536
    """Maximum number of validation tokens per evaluation."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        *LoopConfig.ONLY_WITH,
        OnlyWith(("stride",), "order", ("windows",)),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.stride is None or self.stride >= 1, "stride", "at least 1")
        _require(self.evaluate_tokens >= 1, "evaluate_tokens", "at least 1")


def _require(condition: bool, name: str, range_: str) -> None:
    if not condition:
        raise ConfigError(f"training.{name} must be {range_}.")
