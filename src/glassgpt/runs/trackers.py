"""TensorBoard and Weights & Biases as listeners, for those who have them. Nothing needs them."""

from __future__ import annotations

from collections.abc import Sequence

from glassgpt.errors import ConfigError, did_you_mean, require
from glassgpt.runs.directory import RunDirectory
from glassgpt.training.events import Evaluated, Event, Listener, Sampled, StepsFinished, TrainingFinished

TRACKERS = ("tensorboard", "wandb")


def make_trackers(names: Sequence[str], run: RunDirectory) -> list[Listener]:
    """Return a listener for each name. Raises `ConfigError` on an unknown one, `MissingExtraError` early."""
    return [_make(name, run) for name in names]


def check_trackers(names: Sequence[str]) -> None:
    """Raise now what `make_trackers` would raise once the run exists."""
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
            }
        case Evaluated():
            return {
                "validation/loss": event.loss,
                "validation/perplexity": event.perplexity,
                "validation/bits_per_byte": event.bits_per_byte,
            }
        case _:
            return {}


def _make(name: str, run: RunDirectory) -> Listener:
    check_trackers([name])
    return TensorBoard(run) if name == "tensorboard" else WeightsAndBiases(run)


class TensorBoard:
    """Writes `tensorboard/` inside the run directory."""

    def __init__(self, run: RunDirectory) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.path / "tensorboard"))

    def __call__(self, event: Event) -> None:
        """Write the event's numbers and texts."""
        for name, value in scalars(event).items():
            self._writer.add_scalar(name, value, event.step)
        if isinstance(event, Sampled):
            self._writer.add_text("samples", "\n\n---\n\n".join(event.texts), event.step)
        if isinstance(event, TrainingFinished):
            self._writer.close()


class WeightsAndBiases:
    """Logs to Weights & Biases, online or, with WANDB_MODE=offline, to a folder."""

    def __init__(self, run: RunDirectory) -> None:
        wandb = require("wandb", extra="track", purpose="send metrics to wandb")
        self._run = wandb.init(project="glassgpt", name=run.name, dir=str(run.path), resume="allow")

    def __call__(self, event: Event) -> None:
        """Log the event's numbers."""
        values = scalars(event)
        if values:
            self._run.log(values, step=event.step)
        if isinstance(event, TrainingFinished):
            self._run.finish()
