"""TensorBoard and Weights & Biases as listeners. Both are optional."""

from __future__ import annotations

from collections.abc import Sequence

from glassgpt import files
from glassgpt.errors import ConfigError, did_you_mean, require
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.reading import read_lineage
from glassgpt.runs.records import fenced
from glassgpt.training.events import (
    Evaluated,
    Event,
    Listener,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
)

TRACKERS = ("tensorboard", "wandb")


def make_trackers(names: Sequence[str], run: RunDirectory) -> list[Listener]:
    """Return a listener for each name. Raises `ConfigError` if unknown, `MissingExtraError` if not installed."""
    return [_make(name, run) for name in names]


def check_trackers(names: Sequence[str]) -> None:
    """Raise the errors of `make_trackers` early, before the run exists."""
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(
                f"There is no tracker called {name!r}.{did_you_mean(name, TRACKERS)} There are: {', '.join(TRACKERS)}."
            )
        require(name, extra="track", purpose=f"send metrics to {name}")


def scalars(event: Event) -> dict[str, float]:
    """Return the numbers of an event that are worth a curve, by name."""
    match event:
        case StepsFinished():
            return {
                "train/loss": event.loss,
                "train/learning_rate": event.learning_rate,
                "train/gradient_norm": event.gradient_norm,
                "train/tokens_per_second": event.tokens_per_second,
                **{f"train/{name}": value for name, value in event.metrics.items()},
            }
        case Evaluated():
            numbers = {
                "loss": event.loss,
                "perplexity": event.perplexity,
                "bits_per_byte": event.bits_per_byte,
            }
            return {
                f"validation/{name}": value
                for name, value in {**numbers, **event.metrics}.items()
                if value is not None
            }
        case _:
            return {}


def _make(name: str, run: RunDirectory) -> Listener:
    check_trackers([name])
    return TensorBoard(run) if name == "tensorboard" else WeightsAndBiases(run)


class TensorBoard:
    """Writes `tensorboard/` inside the run directory, flushed at each evaluation."""

    what = "TensorBoard"

    def __init__(self, run: RunDirectory) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._open = SummaryWriter
        self._folder = str(run.path / "tensorboard")
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        """Write the event's numbers and texts."""
        if isinstance(event, TrainingStarted) or self._writer is None:
            # What an earlier attempt wrote after the resumed checkpoint is not shown.
            self._writer = self._open(self._folder, purge_step=event.step + 1 if event.step else None)
        for name, value in scalars(event).items():
            self._writer.add_scalar(name, value, event.step)
        if isinstance(event, Sampled):
            # TensorBoard shows Markdown, and a model may write anything.
            self._writer.add_text("samples", "\n\n".join(map(fenced, event.texts)), event.step)
        if isinstance(event, Evaluated | Sampled):
            self._writer.flush()
        if isinstance(event, TrainingFinished):
            self._writer.close()


class WeightsAndBiases:
    """Logs to Weights & Biases, online or, with WANDB_MODE=offline, to a folder."""

    what = "Weights & Biases"

    def __init__(self, run: RunDirectory) -> None:
        wandb = require("wandb", extra="track", purpose="send metrics to wandb")
        # The same for each attempt of one run, so that a resumed run continues its curve.
        id = files.hash_text(f"{run.name} {read_lineage(run).created}")[:16]
        self._run = wandb.init(project="glassgpt", id=id, name=run.name, dir=str(run.path), resume="allow")

    def __call__(self, event: Event) -> None:
        """Log the event's numbers."""
        values = scalars(event)
        if values:
            self._run.log(values, step=event.step)
        if isinstance(event, TrainingFinished):
            self._run.finish()
