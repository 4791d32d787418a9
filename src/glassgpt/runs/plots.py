"""The loss curves as a picture that a person can read at a glance.

It shows the training loss (thin as measured, thick when smoothed), the validation loss with its best point, and the
known floor where there is one; steps below, epochs or tokens above. Where the first loss is many times the last, the
scale is logarithmic; otherwise the part that matters would be flat at the bottom. Drawn with matplotlib's object
interface: no window, no global state.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontManager

from glassgpt import files
from glassgpt.runs import labels
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.lettering import drawable, letter
from glassgpt.runs.records import read_events
from glassgpt.training.events import Evaluated, Event, StepsFinished, TrainingStarted

TRAINING, MEASURED, VALIDATION, FLOOR = "#1f6f9f", "#7d93a6", "#c0392b", "#2e7d4f"
"""Each has a contrast of at least 3 to 1 with white."""
LARGE, SMALL = (8.0, 5.0), (7.2, 2.6)
"""Sizes of pictures in inches."""
SIZE = 10.0
MOST_POINTS, MOST_MARKERS = 1000, 30
TICKS = ((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 3.0, 5.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
LOGARITHMIC_FROM = 5.0  # the highest value divided by the lowest


def write_plot(run: RunDirectory, floor: float | None) -> None:
    """Write `loss.png` from the metrics of the run."""
    save_figure(main_figure(read_events(run.metrics), title=run.name, floor=floor)[1], run.plot)


def main_figure(
    events: Sequence[Event], *, title: str, floor: float | None = None, size: tuple[float, float] = LARGE
) -> tuple[str, Figure]:
    """Return the name and curve of a run's main number: the loss, or the reward in reinforcement.

    The loss of reinforcement is near 0 however good the model is, so its curve would say nothing.
    """
    if "reward" in metric_names(events):
        return "Reward", metric_figure(events, "reward", title=title, size=size)
    return "Loss", loss_figure(events, title=title, floor=floor, size=size)


def loss_figure(
    events: Sequence[Event], *, title: str, floor: float | None = None, size: tuple[float, float] = LARGE
) -> Figure:
    """Return the loss curves of one run (nats per token over steps)."""
    figure, axes = new_figure(size)
    steps = [event for event in events if isinstance(event, StepsFinished)]
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    if steps:
        _draw_training(axes, [event.step for event in steps], [event.loss for event in steps])
    if evaluations:
        x, losses = [event.step for event in evaluations], [event.loss for event in evaluations]
        _draw_held_out(axes, x, losses, "validation")
    set_scale(axes, [event.loss for event in [*steps, *evaluations]], floor)
    last = max((event.step for event in [*steps, *evaluations]), default=0) or 1
    axes.set_xlim(-0.02 * last, 1.03 * last)
    lines = labels.curves(axes)
    if floor is not None:
        lines += _draw_floor(figure, axes, floor, lines)
    if evaluations:
        _name_best(figure, axes, min(evaluations, key=lambda event: event.loss), lines)
    _finish(figure, axes, title)
    _second_axis(axes, events)
    return figure


def metric_names(events: Sequence[Event]) -> list[str]:
    """Return the names of the metrics other than the loss, in the order of their first event."""
    found = [
        name for event in events if isinstance(event, StepsFinished | Evaluated) for name in event.metrics
    ]
    return list(dict.fromkeys(found))


def metric_figure(
    events: Sequence[Event], name: str, *, title: str = "", size: tuple[float, float] = LARGE
) -> Figure:
    """Return the curve of one metric over steps: training batches as a line, evaluations as points."""
    figure, axes = new_figure(size)
    steps = [event for event in events if isinstance(event, StepsFinished) and name in event.metrics]
    evaluations = [event for event in events if isinstance(event, Evaluated) and name in event.metrics]
    if steps:
        _draw_training(axes, [event.step for event in steps], [event.metrics[name] for event in steps])
    if evaluations:
        x, values = [event.step for event in evaluations], [event.metrics[name] for event in evaluations]
        _draw_held_out(axes, x, values, "held out")
    letter(axes.set_ylabel(drawable(name, int(7 * size[1]))))
    _finish(figure, axes, title)
    return figure


def series_figure(
    events: Sequence[StepsFinished], attribute: str, *, label: str, size: tuple[float, float] = SMALL
) -> Figure:
    """Return one small curve of an attribute of `StepsFinished` over steps."""
    figure, axes = new_figure(size)
    x, values = thinned([event.step for event in events], [getattr(event, attribute) for event in events])
    axes.plot(x, values, color=TRAINING, linewidth=1.5, marker=_marker(x, most=1))
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


def thinned(
    x: Sequence[float], y: Sequence[float], *, most: int = MOST_POINTS
) -> tuple[Sequence[float], Sequence[float]]:
    """Return at most `most` points of a line that look the same: the lowest and the highest of each stretch."""
    if len(x) <= most:
        return x, y
    kept, all_values = {0, len(x) - 1}, np.asarray(y)
    for part in np.array_split(np.arange(len(x)), most // 2 - 1):
        values = all_values[part]
        kept |= {int(part[values.argmin()]), int(part[values.argmax()])}
    return [x[index] for index in sorted(kept)], [y[index] for index in sorted(kept)]


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with files.atomic_write(path, "wb") as file:
        file.write(figure_png(figure))


def figure_png(figure: Figure, *, made_by: str = "GlassGPT") -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with any_script():
        figure.savefig(buffer, format="png", metadata={"Software": made_by})
    return buffer.getvalue()


@contextlib.contextmanager
def any_script() -> Iterator[None]:
    """Draw a name whose script the font lacks without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def new_figure(size: tuple[float, float] = LARGE) -> tuple[Figure, Axes]:
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
        bottom, top = low * (low / high) ** 0.1, high * (high / low) ** 0.06
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=_ticks(axes, bottom, top)))
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
        axes.set_ylim(bottom, top)
    elif high > low:
        axes.set_ylim(max(0.0, low - 0.12 * (high - low)), high + 0.1 * (high - low))


def _ticks(axes: Axes, bottom: float, top: float) -> tuple[float, ...]:
    """Return the multiples of powers of ten that are named on a logarithmic axis: as many as there is room for."""
    height = (
        0.8 * axes.bbox.height * 72 / axes.figure.dpi
    )  # in points; titles below and above will take the rest
    letters = 1.1 * FontManager.get_default_size()
    for multiples in TICKS:
        closest = min(after / before for before, after in itertools.pairwise((*multiples, 10.0)))
        if height * math.log(closest) / math.log(top / bottom) >= letters:
            return multiples
    return TICKS[-1]


def _draw_training(axes: Axes, x: Sequence[float], values: Sequence[float]) -> None:
    """Draw the values of training batches: thin as measured, thick when smoothed."""
    axes.plot(*thinned(x, values), color=MEASURED, linewidth=0.7)
    axes.plot(
        *thinned(x, smoothed(values)), color=TRAINING, linewidth=2, label="training",
        marker=_marker(x, most=1), markersize=3.5,
    )  # fmt: skip


def _draw_held_out(axes: Axes, x: Sequence[float], values: Sequence[float], label: str) -> None:
    marker = _marker(x, most=MOST_MARKERS)
    axes.plot(x, values, color=VALIDATION, linewidth=2, marker=marker, markersize=3.5, label=label)


def _marker(x: Sequence[float], *, most: int) -> str:
    """Return the mark of the points of a line; without marks, a line of one point is invisible."""
    return "o" if len(x) <= most else ""


def _draw_floor(
    figure: Figure, axes: Axes, floor: float, lines: Sequence[labels.Curve]
) -> list[labels.Curve]:
    """Draw the floor and its label above it; return both as curves that other labels avoid."""
    line = axes.axhline(floor, color=FLOOR, linestyle="--", linewidth=1.5)
    height = float(labels.curves(axes)[-1][1][0])
    short = f"floor {floor:.3f}"
    boxes = []
    for text, on_the_left in ((f"{short}: no model can do better", True), (short, True), (short, False)):
        width, high = labels.extent(figure, text, size=SIZE)
        left = 0.03 if on_the_left else 0.98 - width
        boxes.append((text, labels.Box(left, height + 0.01, left + width, height + 0.01 + high)))
    fits = [place for place in boxes if place[1].right < 1]
    text, box = next((place for place in fits if labels.is_free(place[1], lines)), boxes[1])
    axes.annotate(
        text, (box.left, floor), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
        color=FLOOR, va="bottom",
    )  # fmt: skip
    line.set_zorder(1.5)
    top = (np.array([box.left, box.right]), np.array([box.top, box.top]))
    return [labels.curves(axes)[-1], top]


def _name_best(figure: Figure, axes: Axes, best: Evaluated, lines: Sequence[labels.Curve]) -> None:
    """Mark the best point, and write its loss where no curve runs."""
    text = f"best {best.loss:.3f}"
    point = axes.transAxes.inverted().transform(axes.transData.transform((best.step, best.loss)))
    if not np.isfinite(point).all():
        return
    size = labels.extent(figure, text, size=SIZE)
    box = labels.beside((float(point[0]), float(point[1])), size, lines)
    axes.plot([best.step], [best.loss], color=VALIDATION, marker="o", markersize=8, fillstyle="none")
    distance = max(box.bottom - point[1], point[1] - box.top)
    axes.annotate(
        text, (best.step, best.loss), xytext=((box.left + box.right) / 2, box.bottom), textcoords="axes fraction",
        ha="center", va="bottom", color=VALIDATION, fontweight="bold",
        arrowprops={"arrowstyle": "-", "color": VALIDATION, "linewidth": 0.8} if distance > 2 * size[1] else None,
    )  # fmt: skip


def _finish(figure: Figure, axes: Axes, title: str) -> None:
    """Add the title and, below the axes where no curve runs, the names of the lines."""
    if title:
        letter(axes.set_title(drawable(title), loc="left", fontweight="bold", pad=12))
    if axes.get_legend_handles_labels()[1]:
        figure.legend(frameon=False, loc="outside lower center", ncols=2)


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
