"""The pictures: what is drawn, that little or no data is no problem, and that files are PNG."""

from __future__ import annotations

import itertools
import math
import struct
import warnings
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from glassgpt.runs import plots
from glassgpt.runs.plots import (
    figure_png,
    loss_figure,
    save_figure,
    series_figure,
    smoothed,
)
from glassgpt.training.events import Evaluated, Event, StepsFinished, TrainingStarted


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """A warning from matplotlib (an empty legend, an impossible scale) is a mistake of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def curve(last: int, *, first_loss: float = 8.0, final: float = 1.0, epoch: float = 1e9) -> list[Event]:
    """A training of `last` steps that is logged every 10 steps and evaluated every 100."""
    events: list[Event] = [TrainingStarted(0, last, 5, 256, epoch, "cpu", "float32")]
    for step in range(0, last + 1, 10):
        loss = final + (first_loss - final) * math.exp(-6 * step / max(1, last))
        if step:
            events.append(StepsFinished(step, loss, 1e-3, 0.5, step * 256, 1000.0, step / 10))
        if step % 100 == 0:
            events.append(Evaluated(step, loss + 0.1, 1.0, loss / 2, True, step * 256, step / 10))
    return events


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", png[16:24])


def lines(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    """The labelled lines of a figure as points."""
    (axes,) = figure.axes
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_curves_are_the_events():
    events = curve(1000)
    drawn = lines(loss_figure(events, title="t"))
    assert drawn.keys() == {"training", "validation"}
    assert drawn["validation"] == [(e.step, e.loss) for e in events if isinstance(e, Evaluated)]
    assert [x for x, _ in drawn["training"]] == list(range(10, 1001, 10))


def test_the_best_point_is_marked_where_it_is():
    events = [
        *curve(1000),
        Evaluated(1100, 0.75, 1.0, 1.0, True, 1, 1.0),
        Evaluated(1200, 2.0, 1, 1, False, 1, 1),
    ]
    figure = loss_figure(events, title="t")
    (mark,) = [text for text in figure.axes[0].texts if text.get_text() == "best 0.750"]
    assert tuple(mark.xy) == (1100, 0.75)


def test_the_floor_is_drawn_and_named_inside_the_picture():
    figure = loss_figure(curve(1000), title="t", floor=0.9)
    axes = figure.axes[0]
    (floor,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert list(floor.get_ydata()) == [0.9, 0.9]
    assert "floor 0.900: no model can do better" in texts(figure)
    figure.canvas.draw()
    label = next(text for text in axes.texts if text.get_text().startswith("floor"))
    box, frame = label.get_window_extent(), axes.get_window_extent()
    # Below the line it once ran into the numbers of the axis.
    assert axes.transData.transform((0, 0.9))[1] <= box.y0 < box.y1 <= frame.y1
    assert box.x0 > frame.x0
    assert not [
        line for line in loss_figure(curve(1000), title="t").axes[0].lines if line.get_linestyle() == "--"
    ]


@pytest.mark.parametrize("last", [0, 40, 5000])
@pytest.mark.parametrize("floor", [None, 0.02, 0.9])
@pytest.mark.parametrize("final", [0.95, 7.0])
def test_no_label_leaves_the_picture_or_covers_another(last, floor, final):
    figure = loss_figure(curve(last, final=final), title="a run", floor=floor)
    figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    width, height = figure.canvas.get_width_height()
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])


@pytest.mark.parametrize("shape", ["falls", "overfits", "one point", "flat", "noisy", "falls late"])
@pytest.mark.parametrize("size", [plots.LARGE, (300 / 72, 250 / 72)], ids=["desk", "phone"])
def test_the_best_point_is_named_where_no_curve_runs(shape, size):
    """ "best" once stood on the falling curve that it names."""
    shapes = {
        "falls": lambda share: 1 + 5 * math.exp(-6 * share),
        "overfits": lambda share: 2 + 9 * (share - 0.2) ** 2,
        "one point": lambda share: 5.0,
        "flat": lambda share: 5 - share / 1000,
        "noisy": lambda share: 3 - share + 0.5 * math.sin(1000 * share),
        "falls late": lambda share: 5 - 3 * share**8,
    }
    numbers = [0] if shape == "one point" else range(0, 1001, 25)
    events = [Evaluated(step, shapes[shape](step / 1000), 1, 1, True, 1, 1) for step in numbers]
    steps = [StepsFinished(step + 1, shapes[shape](step / 1000) * 0.95, 1, 1, 1, 1, 1) for step in numbers]
    figure = loss_figure([*events, *steps], title="", floor=0.5, size=size)
    figure.canvas.draw()
    axes = figure.axes[0]
    (label,) = [text for text in axes.texts if text.get_text().startswith("best")]
    box = Text.get_window_extent(label)  # without its leader
    assert axes.get_window_extent().contains(box.x0, box.y0)
    assert axes.get_window_extent().contains(box.x1, box.y1)
    for line in axes.lines[:-1]:  # the last marks the point itself
        points = line.get_transform().transform(line.get_xydata())
        x = np.linspace(points[:, 0].min(), points[:, 0].max(), 2000)
        y = np.interp(x, points[:, 0], points[:, 1])
        assert not ((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)).any(), line.get_label()


def test_a_long_line_is_drawn_with_few_points_and_keeps_its_peaks():
    values = [math.sin(index / 50) for index in range(100_000)]
    values[77_777] = 9.0
    x, y = plots.thinned(range(100_000), values)
    assert len(x) <= plots.MOST_POINTS
    assert (x[0], x[-1]) == (0, 99_999)
    assert list(x) == sorted(x)
    assert (77_777, 9.0) in zip(x, y, strict=True)
    assert plots.thinned([1, 2], [3, 4]) == ([1, 2], [3, 4])


def test_a_high_first_loss_does_not_flatten_the_rest():
    """On a linear scale the range from 1.2 to 0.6, where stories become good, took a tenth of the picture."""
    axes = loss_figure(curve(2000, first_loss=8.0, final=0.6), title="t", floor=0.55).axes[0]
    assert axes.get_yscale() == "log"
    bottom, top = axes.get_ylim()
    assert 0 < bottom < 0.55
    assert top > 8.1
    share = math.log(1.2 / 0.6) / math.log(top / bottom)
    assert share > 0.2
    assert loss_figure(curve(2000, first_loss=4.2, final=1.3), title="t").axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("size", [(8.0, 5.0), (300 / 72, 250 / 72), (640 / 72, 380 / 72)])
@pytest.mark.parametrize(("first", "final"), [(7.0, 0.3), (11.0, 0.05), (8.0, 1.4), (9e9, 1e-3), (9.0, 1.0)])
def test_numbers_at_a_logarithmic_axis_do_not_touch(size, first, final):
    """On a phone 5 stood on 4, and 0.5 on 0.4."""
    with mpl.rc_context({"font.size": 12}):
        figure = loss_figure(curve(2000, first_loss=first, final=final), title="", size=size)
    figure.canvas.draw()
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    frame = axes.get_window_extent()
    boxes = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
    boxes = sorted(
        (box for box in boxes if frame.y0 <= (box.y0 + box.y1) / 2 <= frame.y1), key=lambda box: box.y0
    )
    assert len(boxes) >= 3
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    ("epoch", "last", "label", "place"),
    [
        (100.0, 1000, "epochs", 10.0),
        (1e6, 1000, "thousand tokens", 256.0),
        (1e6, 20_000, "million tokens", 5.12),
    ],
)
def test_the_second_axis_counts_epochs_or_tokens(epoch, last, label, place):
    axes = loss_figure(curve(last, epoch=epoch), title="t").axes[0]
    (above,) = axes.child_axes
    assert above.get_xlabel() == label
    axes.figure.canvas.draw()
    (low, high), (left, right) = above.get_xlim(), axes.get_xlim()
    assert low + (high - low) * (last - left) / (right - left) == pytest.approx(place)


@pytest.mark.parametrize(
    "events",
    [
        [],
        curve(0),
        curve(10),
        curve(0)[1:],
        [StepsFinished(1, 5.0, 0.1, 0.1, 1, 1.0, 1.0)],
        [Evaluated(5, 5.0, 1.0, 1.0, True, 1, 1.0)] * 3,
        [Evaluated(5, math.inf, math.inf, math.inf, True, 1, 1.0), Evaluated(6, 5.0, 1.0, 1.0, True, 1, 1.0)],
        [StepsFinished(1, 0.0, 0.1, 0.1, 1, 1.0, 1.0), StepsFinished(2, 9.0, 0.1, 0.1, 1, 1.0, 1.0)],
    ],
    ids=["none", "one", "few", "no start", "a step", "one place", "infinite", "zero"],
)
def test_little_to_draw_is_no_trouble(events):
    loss_figure(events, title="t")
    assert size(figure_png(loss_figure(events, title="t", floor=0.5))) == (960, 600)


def test_a_small_curve():
    steps = [event for event in curve(500) if isinstance(event, StepsFinished)]
    figure = series_figure(steps, "tokens_per_second", label="tokens a second")
    assert figure.axes[0].get_ylim()[0] == 0
    assert size(figure_png(figure)) == (864, 312)
    figure.canvas.draw()
    assert "1,000" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_a_curve_of_one_point_can_be_seen():
    """After one line of the log the picture had a legend, but no line."""
    step = StepsFinished(10, 5.0, 0.1, 0.1, 1, 1.0, 1.0)
    for figure in (loss_figure([step], title=""), series_figure([step], "learning_rate", label="rate")):
        assert [line.get_marker() for line in figure.axes[0].lines][-1] == "o"
    assert series_figure([step, step], "learning_rate", label="rate").axes[0].lines[0].get_marker() == ""


def test_smoothing_by_hand():
    # 100 values with a window of 4 %: the mean of 5, narrower where there are fewer on one side.
    values = [float(index**2) for index in range(100)]
    result = smoothed(values)
    assert result[0] == 0
    assert result[1] == (0 + 1 + 4) / 3
    assert result[50] == sum((50 + offset) ** 2 for offset in (-2, -1, 0, 1, 2)) / 5
    assert result[99] == 99**2
    assert smoothed([5.0] * 7) == [5.0] * 7
    assert smoothed([]) == []
    assert smoothed([3.0]) == [3.0]


@given(values=st.lists(st.floats(-1e6, 1e6), max_size=200), window=st.floats(0.01, 1.0))
def test_smoothing_is_the_mean_of_each_window(values, window):
    half, last = max(1, round(len(values) * window / 2)), len(values) - 1
    reaches = [min(half, index, last - index) for index in range(len(values))]
    windows = [values[index - reach : index + reach + 1] for index, reach in enumerate(reaches)]
    expected = [math.fsum(some) / len(some) for some in windows]
    assert smoothed(values, window=window) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_a_million_values_are_smoothed_and_a_huge_one_spoils_its_windows_only():
    """Each window was summed by itself: forty billion additions, with the 40,001 values of a window."""
    values = [1.0] * 1_000_000
    values[100], values[500_000] = 1e30, math.nan
    result = smoothed(values)
    assert result[49] == 1.0
    assert result[100] == pytest.approx(1e30 / 201)
    assert math.isnan(result[480_000])
    assert math.isnan(result[520_000])
    assert result[479_999] == result[520_001] == result[-1] == 1.0


def test_saving_replaces_the_picture(tmp_path):
    path = tmp_path / "loss.png"
    path.write_bytes(b"old")
    save_figure(loss_figure(curve(300), title="t"), path)
    assert size(path.read_bytes()) == (960, 600)
    assert [file.name for file in tmp_path.iterdir()] == ["loss.png"]


def test_a_real_run_has_its_picture(run):
    assert size(run.plot.read_bytes()) == (960, 600)
