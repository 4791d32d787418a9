"""Where a label in a picture may stand without touching a curve.

Places are shares of the axes' width and height. They do not depend on the layout, so nothing has to be drawn first; the
size of a text is estimated from its letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontManager

Curve = tuple[np.ndarray, np.ndarray]
GAP = 0.025


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in shares of the axes."""

    left: float
    bottom: float
    right: float
    top: float


def curves(axes: Axes) -> list[Curve]:
    """Return the lines of the axes as (x, y), both in shares of the axes."""
    to_shares = axes.transAxes.inverted()
    found = []
    for line in axes.lines:
        points = to_shares.transform(line.get_transform().transform(line.get_xydata()))
        points = points[np.isfinite(points).all(1)]
        if len(points):
            points = points[points[:, 0].argsort(kind="stable")]
            found.append((points[:, 0], points[:, 1]))
    return found


def extent(figure: Figure, text: str, *, size: float) -> tuple[float, float]:
    """Return about how wide and high a text of a size in points is, with some space around it."""
    width, height = figure.get_size_inches() * 72
    scale = size * FontManager.get_default_size() / 10
    return 0.68 * scale * len(text) / (0.86 * width), 1.4 * scale / (0.7 * height)


def beside(point: tuple[float, float], size: tuple[float, float], lines: Sequence[Curve]) -> Box:
    """Return the place for the label of a point: the nearest one that no curve touches, else the one above it."""
    width, height = size
    lefts = {
        min(max(0.01, point[0] + width * shift), max(0.01, 0.99 - width))
        for shift in (-1.5, -1, -0.5, 0, 0.5)
    }
    bottoms = [point[1] + 1.5 * GAP, *np.arange(GAP, 1 - height, GAP)]
    boxes = [
        Box(left, float(bottom), left + width, float(bottom) + height) for left in lefts for bottom in bottoms
    ]
    boxes.sort(key=lambda box: _distance(box, point))
    return next((box for box in boxes if box.top <= 1 and is_free(box, lines)), boxes[0])


def apart(wanted: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Return places in the order of `wanted`, `least` apart and as near to it as possible, from `low` to `high`.

    `wanted` must be sorted. Places that would be too close form a group around their mean. Where there is no room for
    all, the last ones lie beyond `high`.
    """
    groups: list[tuple[float, int]] = []  # the lowest place of each, and how many there are
    for number, place in enumerate(wanted):
        start, count = place - number * least, 1
        while groups and groups[-1][0] > start:
            before, members = groups.pop()
            start, count = (before * members + start * count) / (members + count), members + count
        groups.append((start, count))
    highest = max(low, high - (len(wanted) - 1) * least)
    starts = [min(max(low, start), highest) for start, count in groups for _ in range(count)]
    return [start + number * least for number, start in enumerate(starts)]


def is_free(box: Box, lines: Sequence[Curve]) -> bool:
    """Return whether no curve runs through a box."""
    reaches = (_reach(line, box.left, box.right) for line in lines)
    return not any(reach and reach[0] < box.top and reach[1] > box.bottom for reach in reaches)


def _distance(box: Box, point: tuple[float, float]) -> float:
    """Return how far a box is from a point; a little nearer where it stands above or below it."""
    up = max(box.bottom - point[1], point[1] - box.top, 0)
    return up + abs((box.left + box.right) / 2 - point[0])


def _reach(line: Curve, left: float, right: float) -> tuple[float, float] | None:
    """Return the lowest and the highest point of a curve between two x, None where it has none."""
    x, y = line
    if x[-1] < left or x[0] > right:
        return None
    ends = np.interp([max(left, x[0]), min(right, x[-1])], x, y)
    inside = np.concatenate((y[(x >= left) & (x <= right)], ends))
    return float(inside.min()), float(inside.max())
