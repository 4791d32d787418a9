"""The validation curves of several runs in one picture, from two to some fifty.

Colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart; dashes tell the lines
beyond them apart. Up to `NAMED` lines have their names at their ends, more have them in a legend below, best first.
Runs that differ in their seed only can be drawn as one band.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glassgpt import files
from glassgpt.runs.labels import apart
from glassgpt.runs.lettering import drawable, letter, told_apart
from glassgpt.runs.plots import figure_png, new_figure, set_scale
from glassgpt.training.events import Evaluated, Event

COMPARISON = "GlassGPT runs compare"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ((), (5, 1.5), (1.2, 1.2), (6, 1.5, 1.2, 1.5), (10, 2), (3, 1, 1, 1, 1, 1), (2.5, 2.5), (8, 1, 3, 1))
"""Lengths of lines and gaps, in widths of the line; the first is solid."""
NAMED = 10
"""The most lines with their names at their ends."""
MARKED, MOST_MARKED = 30, 4
"""The most points of a line that are marked each, and the most lines that have marks: they would hide dashes."""
BANDS_FROM = 10
"""With more lines than this, runs that differ only in their seed become a band."""
LONG = 24
"""Characters of a name from which on the words that all names share are only in the title."""
BAND = "lines: mean over seeds; bands: from the lowest to the highest"
ROW_INCHES = 0.2
FLOP = ((21, "Z"), (18, "E"), (15, "P"), (12, "T"), (9, "G"))
By = Literal["time", "steps", "tokens", "flops"]


@dataclass(frozen=True)
class Compared:
    """A run to draw: its events, and what a picture needs to know of its settings."""

    name: str
    events: Sequence[Event]
    settings: Mapping[str, Any] = field(default_factory=dict)
    flops_per_token: float = 0.0


@dataclass(frozen=True)
class _Line:
    """One curve; `low` and `high` are those of a band."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def comparison_figure(runs: Sequence[Compared], *, by: By = "time", band: bool | None = None) -> Figure:
    """Return the validation curves of several runs in one figure, in bits per byte where all have them, else the loss.

    `band` draws runs that differ only in their seed as their mean and their range; None decides by the number of
    runs. Runs that were never evaluated are left out.
    """
    bits = all(event.bits_per_byte is not None for run in runs for event in _evaluations(run))
    lines = [line for run in runs if len((line := _line(run, by, bits)).x)]
    if band or (band is None and len(lines) > BANDS_FROM):
        settings = {run.name: run.settings for run in runs}
        lines = [_banded(group) for group in _groups(lines, settings)]
    start = _shared_start([line.name for line in lines])
    names = told_apart([drawable(line.name.removeprefix(start)) for line in lines])
    lines = [replace(line, name=name) for line, name in zip(lines, names, strict=True)]
    figure, axes = new_figure()
    scale = _label_x(axes, by, lines)
    drawn = [_draw(axes, line, number, scale, len(lines)) for number, line in enumerate(lines)]
    set_scale(axes, [float(y) for line in lines for y in line.y])
    if any(line.low is not None for line in lines):
        axes.set_xlabel(f"{axes.get_xlabel()}\n{BAND}")
    axes.set_ylabel("validation bits per byte" if bits else "validation loss (nats a token)")
    title = f"Runs compared: {drawable(start)}..." if start else "Runs compared"
    letter(axes.set_title(title, loc="left", fontweight="bold"))
    if len(lines) > NAMED:
        _legend_below(figure, sorted(drawn, key=lambda line: float(np.asarray(line.get_ydata())[-1])))
    elif lines:
        _names_at_ends(figure, axes, drawn)
    return figure


def save_comparison(figure: Figure, path: Path) -> None:
    """Write a figure that compares runs as PNG, with a note in it that `is_comparison` recognizes."""
    with files.atomic_write(path, "wb") as file:
        file.write(figure_png(figure, made_by=COMPARISON))


def is_comparison(path: Path) -> bool:
    """Return whether a file is a picture that compares runs."""
    with open(path, "rb") as file:
        head = file.read(1000)
    return head.startswith(b"\x89PNG") and COMPARISON.encode() in head


def _shared_start(names: Sequence[str]) -> str:
    """Return the words with which all names begin, where some name is long and the rest still tells them apart."""
    if len(names) < 2 or max(map(len, names)) <= LONG:
        return ""
    start = re.sub(r"[^- ]*$", "", _common(names))
    return start if len(start) > 4 and all(name != start for name in names) else ""


def _common(names: Sequence[str]) -> str:
    """Return the characters with which all names begin."""
    first, last = min(names), max(names)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(char for char, _ in same)


def _evaluations(run: Compared) -> list[Evaluated]:
    return [event for event in run.events if isinstance(event, Evaluated) and np.isfinite(event.loss)]


def _line(run: Compared, by: By, bits: bool) -> _Line:
    evaluations = _evaluations(run)
    x = {
        "time": lambda event: event.seconds,
        "steps": lambda event: event.step,
        "tokens": lambda event: event.tokens,
        "flops": lambda event: event.tokens * run.flops_per_token,
    }[by]
    y = [event.bits_per_byte if bits else event.loss for event in evaluations]
    return _Line(run.name, np.array([x(event) for event in evaluations], float), np.array(y, float))


def _groups(lines: Sequence[_Line], settings: Mapping[str, Mapping[str, Any]]) -> list[list[_Line]]:
    """Return the lines in groups whose runs have the same settings apart from the seed."""
    groups: dict[str, list[_Line]] = {}
    for line in lines:
        own = {key: value for key, value in settings[line.name].items() if key != "training.seed"}
        groups.setdefault(repr(sorted(own.items())) if own else line.name, []).append(line)
    return list(groups.values())


def _banded(lines: Sequence[_Line]) -> _Line:
    """Return several lines as their mean, and the range between them, where all of them have values."""
    first, last = max(line.x[0] for line in lines), min(line.x[-1] for line in lines)
    if len(lines) == 1 or first >= last:
        return lines[0]
    x = np.unique(np.concatenate([line.x for line in lines]))
    x = x[(x >= first) & (x <= last)]
    values = np.array([np.interp(x, line.x, line.y) for line in lines])
    start = re.sub(r"[-_ ,]*(seed)?[-_ =]*$", "", _common([line.name for line in lines])) or lines[0].name
    name = f"{start} ({len(lines)} seeds)"
    return _Line(name, x, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _label_x(axes: Axes, by: By, lines: Sequence[_Line]) -> float:
    """Name the axis below, and return what a value is divided by."""
    last = max((float(line.x[-1]) for line in lines), default=0.0)
    units = {
        "time": (
            (7200, 3600, "hours of training"),
            (120, 60, "minutes of training"),
            (0, 1, "seconds of training"),
        ),
        "steps": ((0, 1, "steps"),),
        "tokens": ((2e9, 1e9, "billion tokens"), (2e6, 1e6, "million tokens"), (0, 1e3, "thousand tokens")),
        "flops": (
            *((2 * 10**power, 10**power, f"compute of training ({unit}FLOP)") for power, unit in FLOP),
            (0, 1e6, "compute of training (MFLOP)"),
        ),
    }[by]
    _, scale, label = next(unit for unit in units if last >= unit[0])
    axes.set_xlabel(label)
    return float(scale)


def _draw(axes: Axes, line: _Line, number: int, scale: float, count: int) -> Line2D:
    colour = COLOURS[number % len(COLOURS)]
    dashes = DASHES[number // len(COLOURS) % len(DASHES)]
    marked = len(line.x) == 1 or (len(line.x) <= MARKED and count <= MOST_MARKED)
    (drawn,) = axes.plot(
        line.x / scale,
        line.y,
        color=colour,
        linewidth=2 if count <= NAMED else 1.4,
        linestyle=(0, dashes) if dashes else "-",
        marker="o" if marked else "",
        markersize=3,
        label=line.name,
    )
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x / scale, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
    return drawn


def _names_at_ends(figure: Figure, axes: Axes, lines: Sequence[Line2D]) -> None:
    """Write each name at the right edge, at the height where its line ends, but no two over each other."""
    figure.draw_without_rendering()
    bottom, top = axes.get_window_extent().y0, axes.get_window_extent().y1
    ends = {line: axes.transData.transform([np.asarray(a)[-1] for a in line.get_data()])[1] for line in lines}
    least = 13 * figure.dpi / 72
    ordered = sorted(lines, key=lambda line: ends[line])
    heights = apart([ends[line] for line in ordered], least, bottom, top)
    for line, height in zip(ordered, heights, strict=True):
        x, y = (float(np.asarray(values)[-1]) for values in line.get_data())
        share = (height - bottom) / (top - bottom)
        axes.annotate(
            "",
            (x, y),
            xytext=(1.03, share),
            textcoords="axes fraction",
            arrowprops={
                "arrowstyle": "-",
                "color": line.get_color(),
                "linestyle": line.get_linestyle(),
                "linewidth": 1,
                "shrinkA": 0,
            },
            annotation_clip=False,
        )
        name = str(line.get_label())
        letter(axes.text(1.034, share, name, transform=axes.transAxes, va="center", fontsize=9))


def _legend_below(figure: Figure, lines: Sequence[Line2D]) -> None:
    """Put the names under the picture, best first, in as many columns as fit, and make the picture higher for them."""
    longest = max(len(str(line.get_label())) for line in lines)
    columns = max(1, min(5, int(figure.get_figwidth() / (0.075 * longest + 0.6))))
    rows = -(-len(lines) // columns)
    figure.set_figheight(figure.get_figheight() + ROW_INCHES * rows)
    legend = figure.legend(
        handles=lines,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
        handlelength=3.5,
        title="best first",
        title_fontsize=8,
    )
    for text in legend.get_texts():
        letter(text)
