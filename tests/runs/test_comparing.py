"""The picture of several runs: two lines can always be told apart, and every name is drawn or shortened."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from glassgpt.runs.comparing import By, Compared, comparison_figure
from glassgpt.runs.labels import apart
from glassgpt.runs.lettering import LONGEST
from glassgpt.runs.plots import figure_png
from glassgpt.training.events import Evaluated, Event


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """A warning from matplotlib (a missing glyph, text read as mathematics) is a mistake of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def curve(last: int, *, final: float = 1.0, points: int = 10, seconds: float = 0.1) -> list[Event]:
    steps = [round(last * index / (points - 1)) for index in range(points)]
    losses = [final + 7 * math.exp(-6 * step / last) for step in steps]
    return [
        Evaluated(step, loss, 1.0, loss / 2, True, step * 256, step * seconds)
        for step, loss in zip(steps, losses, strict=True)
    ]


def many(count: int, **options: float) -> list[Compared]:
    return [
        Compared(f"run-{number}", curve(200, final=1 + number / 10, **options)) for number in range(count)
    ]  # pyright: ignore[reportArgumentType]


def drawn(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in figure.axes[0].lines
    }


def written(figure: Figure) -> list[str]:
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return legend or [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def test_runs_are_compared_over_time_in_bits_per_byte() -> None:
    runs = [Compared("long", curve(2000)), Compared("short", curve(500)), Compared("not begun", [])]
    found = drawn(comparison_figure(runs))
    assert found.keys() == {"long", "short"}
    evaluations = [event for event in curve(500) if isinstance(event, Evaluated)]
    assert [y for _, y in found["short"]] == [event.bits_per_byte for event in evaluations]
    assert [x for x, _ in found["short"]] == [event.seconds / 60 for event in evaluations]


@pytest.mark.parametrize(
    ("by", "seconds", "label", "last"),
    [
        ("time", 0.1, "seconds of training", 20),
        ("time", 10.0, "minutes of training", 200 * 10 / 60),
        ("time", 360.0, "hours of training", 20),
        ("steps", 1.0, "steps", 200),
        ("tokens", 1.0, "thousand tokens", 51.2),
        ("flops", 1.0, "compute of training (GFLOP)", 51.2),
    ],
)  # fmt: skip
def test_the_axis_has_the_unit_of_its_values(by: By, seconds: float, label: str, last: float) -> None:
    runs = [Compared(name, curve(200, seconds=seconds), {}, 1e6) for name in "ab"]
    figure = comparison_figure(runs, by=by)
    assert figure.axes[0].get_xlabel() == label
    assert drawn(figure)["a"][-1][0] == pytest.approx(last)


@pytest.mark.parametrize("count", [2, 10, 11, 50])
def test_every_run_has_a_line_of_its_own_look_and_its_name(count: int) -> None:
    """The colours were repeated after six runs, and names covered the lines."""
    figure = comparison_figure(many(count))
    looks = {(str(line.get_color()), str(line._dash_pattern)) for line in figure.axes[0].lines}  # pyright: ignore[reportAttributeAccessIssue]
    assert len(looks) == count
    assert sorted(written(figure)) == sorted(run.name for run in many(count))


@pytest.mark.parametrize("count", [3, 10, 50])
def test_no_name_covers_another_or_the_curves(count: int) -> None:
    figure = comparison_figure(many(count, points=2))
    figure.canvas.draw()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert not any(box.overlaps(figure.axes[0].get_window_extent()) for box in boxes)
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)


def test_many_points_are_not_marked() -> None:
    for points, marked in ((30, True), (31, False)):
        figure = comparison_figure(many(2, points=points))
        assert [line.get_marker() == "o" for line in figure.axes[0].lines] == [marked, marked]


def test_marks_do_not_hide_dashes_but_a_single_point_has_one() -> None:
    """Ten lines with thirty marks each were ten rows of dots."""
    figure = comparison_figure([*many(10), Compared("just begun", curve(200)[:1])])
    assert {line.get_label() for line in figure.axes[0].lines if line.get_marker() == "o"} == {"just begun"}


def test_names_of_close_lines_are_around_them() -> None:
    """All of them once stood above the lines, with leaders across the picture."""
    close = [Compared(f"run-{n}", curve(200, final=3 + n / 1e4)) for n in range(9)]
    figure = comparison_figure([Compared("low", curve(200, final=0.2)), *close])
    figure.canvas.draw()
    axes = figure.axes[0]
    names = sorted(text.get_window_extent().y0 for text in axes.texts if text.get_text())
    end = axes.transData.transform((0, drawn(figure)["run-4"][-1][1]))[1]
    assert names[4] < end < names[6]


@given(wanted=st.lists(st.floats(-50, 150), max_size=30).map(sorted), least=st.floats(0.1, 3))
def test_places_are_apart_and_near(wanted: list[float], least: float) -> None:
    places = apart(wanted, least, 0, 100)
    assert all(after - before > 0.999 * least for before, after in itertools.pairwise(places))
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)
    if len(wanted) == 1:
        assert places == [min(max(0, wanted[0]), 100)]
    if all(after - before >= least for before, after in itertools.pairwise(wanted)) and all(
        0 <= place <= 100 - least * len(wanted) for place in wanted
    ):
        assert places == pytest.approx(wanted)


def seeds(count: int) -> list[Compared]:
    return [
        Compared(
            f"tale-n_layer={layers}-seed={seed}",
            curve(200, final=layers + seed),
            {"model.n_layer": layers, "training.seed": seed},
        )
        for layers in range(1, count + 1)
        for seed in (1, 2, 3)
    ]  # fmt: skip


def test_seeds_are_a_band_where_there_are_many_runs_or_on_request() -> None:
    assert len(drawn(comparison_figure(seeds(2)))) == 6
    assert len(drawn(comparison_figure(seeds(4), band=False))) == 12
    assert len(drawn(comparison_figure(seeds(4)))) == 4
    figure = comparison_figure(seeds(2), band=True)
    assert sorted(written(figure)) == ["tale-n_layer=1 (3 seeds)", "tale-n_layer=2 (3 seeds)"]
    assert len(figure.axes[0].collections) == 2
    assert "mean over seeds" in figure.axes[0].get_xlabel()
    middle = [y for _, y in drawn(comparison_figure([seeds(1)[1]]))["tale-n_layer=1-seed=2"]]
    assert [y for _, y in drawn(figure)["tale-n_layer=1 (3 seeds)"]] == pytest.approx(middle)


def test_runs_without_bits_per_byte_are_compared_by_their_loss() -> None:
    events: list[Event] = [Evaluated(step, 3.0 - step, None, None, True, step, step) for step in range(3)]
    figure = comparison_figure([Compared("a", events), Compared("b", curve(5))])
    assert "loss" in figure.axes[0].get_ylabel()
    assert [y for _, y in drawn(figure)["a"]] == [3.0, 2.0, 1.0]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Evaluated(5, 5.0, 1.0, 1.0, True, 1, 1.0)] * 3,
        [Evaluated(5, math.inf, math.inf, math.inf, True, 1, 1.0), Evaluated(6, 5.0, 1.0, 1.0, True, 1, 1.0)],
        [Evaluated(5, math.nan, math.nan, math.nan, True, 1, 1.0)],
    ],
    ids=["none", "one place", "infinite", "not a number"],
)
@pytest.mark.parametrize("band", [True, False])
def test_little_to_draw_is_no_trouble(events: list[Event], band: bool) -> None:
    assert figure_png(comparison_figure([Compared("a", events), Compared("b", [])], band=band))


def test_names_in_any_script_are_drawn_or_shortened() -> None:
    """A name in Chinese was a row of boxes, and a name with dollars stopped the picture."""
    names = [
        "$5^x_$",
        "中文",
        "日本",
        "mixed 中文 b",
        "русский",
        "\U0001f600\U0001f600",
        "x" * 300,
        "\x1b[31mred",
    ]
    figure = comparison_figure([Compared(name, curve(200)) for name in names])
    assert figure_png(figure)
    assert "$5^x_$" in written(figure)
    assert len(set(written(figure))) == len(names)
    assert max(map(len, written(figure))) <= LONGEST + 4


def test_words_that_all_long_names_share_are_in_the_title() -> None:
    names = [f"a-very-long-name-of-a-sweep-learning_rate=0.{number}" for number in (1, 2)]
    figure = comparison_figure([Compared(name, curve(200)) for name in names])
    assert sorted(written(figure)) == ["learning_rate=0.1", "learning_rate=0.2"]
    assert figure.axes[0].get_title(loc="left") == "Runs compared: a-very-long-name-of-a-sweep-..."
