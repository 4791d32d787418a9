"""The loss curves as a picture that a person can read at a glance.

It shows the training loss (faint as measured, firm when smoothed), the validation loss with its best point, and the
known floor where there is one; steps below, epochs or tokens above. Where the first loss is many times the last, the
scale is logarithmic; otherwise the part that matters would be flat at the bottom. Drawn with matplotlib's object
interface: no window, no global state.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from glassgpt import files
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.records import read_events, readable
from glassgpt.training.events import Evaluated, Event, StepsFinished, TrainingFinished, TrainingStarted

TRAINING, VALIDATION, FLOOR = "#7aa6c2", "#c0392b", "#2e7d4f"
REDRAW_SECONDS = 20.0
REDRAW_SHARE = 0.02
"""The largest share of a training's time that drawing meanwhile may take."""
LOGARITHMIC_FROM = 5.0  # the highest value divided by the lowest


class PlotFile:
    """Listener that keeps `loss.png` up to date, in a small share of the time."""

    what = "loss.png"

    def __init__(self, run: RunDirectory, floor: float | None) -> None:
        self._run, self._floor = run, floor
        self._drawn, self._took = time.monotonic(), 0.0

    def __call__(self, event: Event) -> None:
        """Draw at the end, and after an evaluation when the picture is old.

        A picture needs all events again, so in a long run each one takes longer, and is drawn less often.
        """
        old = max(REDRAW_SECONDS, self._took / REDRAW_SHARE)
        due = isinstance(event, Evaluated) and time.monotonic() - self._drawn > old
        if due or isinstance(event, TrainingFinished):
            began = time.monotonic()
            events = read_events(self._run.metrics)
            save_figure(main_figure(events, title=self._run.name, floor=self._floor)[1], self._run.plot)
            self._drawn = time.monotonic()
            self._took = self._drawn - began


def main_figure(events: Sequence[Event], *, title: str, floor: float | None = None) -> tuple[str, Figure]:
    """Return the name and curve of a run's main number: the loss, or the reward in reinforcement.

    The loss of reinforcement is near 0 however good the model is, so its curve would say nothing.
    """
    if "reward" in metric_names(events):
        return "Reward", metric_figure(events, "reward", title=title)
    return "Loss", loss_figure(events, title=title, floor=floor)


def loss_figure(events: Sequence[Event], *, title: str, floor: float | None = None) -> Figure:
    """Return the loss curves of one run (nats per token over steps)."""
    figure, axes = new_figure()
    steps = [event for event in events if isinstance(event, StepsFinished)]
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    if steps:
        x, losses = [event.step for event in steps], [event.loss for event in steps]
        axes.plot(x, losses, color=TRAINING, alpha=0.35, linewidth=1)
        axes.plot(x, smoothed(losses), color=TRAINING, linewidth=2, label="training")
    if evaluations:
        _draw_validation(axes, evaluations)
    set_scale(axes, [event.loss for event in [*steps, *evaluations]], floor)
    last = max((event.step for event in [*steps, *evaluations]), default=0) or 1
    axes.set_xlim(-0.02 * last, 1.03 * last)
    if floor is not None:
        _draw_floor(axes, floor)
    axes.set_title(readable(title), loc="left", fontweight="bold", pad=12, parse_math=False)
    if steps or evaluations:
        axes.legend(frameon=False, loc="upper right")
    _second_axis(axes, events)
    return figure


def metric_names(events: Sequence[Event]) -> list[str]:
    """Return the names of the metrics other than the loss, in the order of their first event."""
    found = [
        name for event in events if isinstance(event, StepsFinished | Evaluated) for name in event.metrics
    ]
    return list(dict.fromkeys(found))


def metric_figure(events: Sequence[Event], name: str, *, title: str | None = None) -> Figure:
    """Return the curve of one metric over steps: training batches as a line, evaluations as points.

    With a title, even an empty one, the figure is as large as that of the loss.
    """
    figure, axes = new_figure(size=(7.2, 3.2)) if title is None else new_figure()
    axes.set_title(readable(title or ""), loc="left", fontweight="bold", pad=12, parse_math=False)
    steps = [event for event in events if isinstance(event, StepsFinished) and name in event.metrics]
    evaluations = [event for event in events if isinstance(event, Evaluated) and name in event.metrics]
    if steps:
        x, values = [event.step for event in steps], [event.metrics[name] for event in steps]
        axes.plot(x, values, color=TRAINING, alpha=0.35, linewidth=1)
        axes.plot(x, smoothed(values), color=TRAINING, linewidth=2, label="training")
    if evaluations:
        x, values = [event.step for event in evaluations], [event.metrics[name] for event in evaluations]
        axes.plot(x, values, color=VALIDATION, linewidth=2, marker="o", markersize=3.5, label="held out")
    axes.set_ylabel(readable(name), parse_math=False)
    if steps or evaluations:
        axes.legend(frameon=False)
    return figure


def series_figure(events: Sequence[StepsFinished], attribute: str, *, label: str) -> Figure:
    """Return one small curve of an attribute of `StepsFinished` over steps."""
    figure, axes = new_figure(size=(7.2, 2.6))
    values = [getattr(event, attribute) for event in events]
    axes.plot([event.step for event in events], values, color=TRAINING, linewidth=1.5)
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
    return figure


def smoothed(values: Sequence[float], *, window: float = 0.04) -> list[float]:
    """Return running means; the window is a share of all values, and narrower at both ends.

    The sum of a window is made of blocks of 1, 2, 4, ... values, at most one per binary digit of its width. So the
    cost is close to that of reading the values, and a huge value affects only the means of the windows that contain
    it.
    """
    half, index = max(1, round(len(values) * window / 2)), np.arange(len(values))
    reach = np.minimum(half, np.minimum(index, index[::-1]))
    width, start = 2 * reach + 1, index - reach
    block, total, size = np.array(values, dtype=float), np.zeros(len(values)), 1
    while (width >= size).any():
        has = (width & size) > 0
        total[has] += block[start[has]]
        start[has] += size
        block, size = block[:-size] + block[size:], 2 * size
    return (total / width).tolist()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with files.atomic_write(path, "wb") as file:
        file.write(figure_png(figure))


def figure_png(figure: Figure, *, made_by: str = "GlassGPT") -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # when the font lacks the script of a run's name
        figure.savefig(buffer, format="png", metadata={"Software": made_by})
    return buffer.getvalue()


def new_figure(size: tuple[float, float] = (8.0, 5.0)) -> tuple[Figure, Axes]:
    """Return an empty figure and its axes, labelled as loss over steps."""
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats a token)")
    return figure, axes


def set_scale(axes: Axes, values: Sequence[float], floor: float | None = None) -> None:
    """Choose the scale of the y axis for `values` that end near `floor`."""
    values = [value for value in values if 0 < value < float("inf")]
    if not values:
        return
    low, high = min(values) if floor is None else floor, max(values)
    if low > 0 and high / min(values) > LOGARITHMIC_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
        axes.set_ylim(low * (low / high) ** 0.1, high * (high / low) ** 0.06)
    elif high > low:
        axes.set_ylim(max(0.0, low - 0.12 * (high - low)), high + 0.1 * (high - low))


def _draw_floor(axes: Axes, floor: float) -> None:
    axes.axhline(floor, color=FLOOR, linestyle="--", linewidth=1.5)
    axes.annotate(
        f"floor {floor:.3f}: no model can do better",
        (0.01, floor),
        xycoords=("axes fraction", "data"),
        xytext=(0, -4),
        textcoords="offset points",
        color=FLOOR,
        va="top",
        fontsize=9,
    )


def _draw_validation(axes: Axes, evaluations: Sequence[Evaluated]) -> None:
    x, losses = [event.step for event in evaluations], [event.loss for event in evaluations]
    axes.plot(x, losses, color=VALIDATION, linewidth=2, marker="o", markersize=3.5, label="validation")
    best = min(evaluations, key=lambda event: event.loss)
    axes.annotate(
        f"best {best.loss:.3f}",
        (best.step, best.loss),
        xytext=(0, 12),
        textcoords="offset points",
        ha="right" if best.step > evaluations[-1].step / 3 else "left",
        color=VALIDATION,
        fontweight="bold",
    )


def _second_axis(axes: Axes, events: Sequence[Event]) -> None:
    """Draw the axis above: epochs where the data was seen more than once, else tokens."""
    started = next((event for event in events if isinstance(event, TrainingStarted)), None)
    if started is None:
        return
    if started.steps > started.steps_per_epoch:
        unit, label = started.steps_per_epoch, "epochs"
    else:
        thousands = started.steps * started.tokens_per_step < 2_000_000
        unit = (1e3 if thousands else 1e6) / started.tokens_per_step
        label = "thousand tokens" if thousands else "million tokens"
    above = axes.secondary_xaxis(
        "top", functions=(lambda x: np.asarray(x) / unit, lambda x: np.asarray(x) * unit)
    )
    above.set_xlabel(label)
