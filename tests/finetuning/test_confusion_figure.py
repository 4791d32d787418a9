"""The picture of the confusion matrix."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from glassgpt.finetuning.scores import confusion_figure, scores_of
from tests.runs.hostile import FEW


@pytest.mark.parametrize("count", [2, 10, 40])
def test_no_letters_leave_the_picture_or_cover_others(count: int) -> None:
    """The words "right label" were cut in halves at the left edge."""
    labels = [*FEW, *(f"intent_name_{number}" for number in range(count))][:count]
    right = np.repeat(np.arange(count), 3)
    figure = confusion_figure(scores_of(right, np.roll(right, 1), labels))
    figure.canvas.draw()
    axes = figure.axes[0]
    rows, columns = axes.get_yticklabels(), axes.get_xticklabels()
    width, height = figure.canvas.get_width_height()
    for text in (axes.xaxis.label, axes.yaxis.label, *rows, *columns):
        box = text.get_window_extent()
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    boxes = [text.get_window_extent() for text in (*rows, *(columns if count == 40 else []))]  # others slope
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
