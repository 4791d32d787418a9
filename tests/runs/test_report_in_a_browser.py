"""`report.html` as people meet it: light and dark, on a phone and a desk, by keyboard and by screen reader.

Needs the extra `browser` and an installed Chromium; without them these tests are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glassgpt import files
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.records import MetricsFile
from glassgpt.runs.report import write_report
from glassgpt.training.events import Evaluated, Sampled
from tests.fixtures.browser import CHROMIUM, violations
from tests.fixtures.quick import quick
from tests.runs.hostile import ALL, FEW
from tests.runs.test_report import contrast

sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra `browser` is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with a hostile name, hostile samples, and a comparison with its base."""
    name = "<script>$a_b [bold] " + "w" * 150
    run = RunDirectory(Path(shutil.copytree(trained, tmp_path_factory.mktemp("browser") / name)))
    for event in (
        Sampled(12, tuple(ALL[:2])),
        *(Sampled(13 + number, (text, text)) for number, text in enumerate(ALL)),
        Evaluated(400, 2.5, 1e30, 3, True, 123456, 1e4, dict.fromkeys(FEW, 0.5)),
    ):
        MetricsFile(run.metrics)(event)
    samples = [{"prompt": text, "before": text, "after": text * 3} for text in ALL]
    files.write_json(run.comparison, {"numbers": {text: [1, 2] for text in FEW}, "samples": samples})
    files.write_json(run.confusion_counts, counts_of(ALL[-60:]))
    write_report(run)
    return run.report


def counts_of(labels: list[str]) -> dict[str, Any]:
    """Counts from 0 to thousands for all pairs of labels, the highest for equal ones."""
    size = range(len(labels))
    return {"labels": labels, "counts": [[3000 if at == row else row * at for at in size] for row in size]}


@pytest.fixture(scope="module", params=[2, 10, 40])
def classifier(request: Any, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that classifies texts by a number of hostile labels."""
    labels = (FEW + ALL)[: request.param]
    run = RunDirectory(Path(shutil.copytree(trained, tmp_path_factory.mktemp("classifier") / "moods")))
    files.write_json(run.confusion_counts, counts_of(labels))
    write_report(run)
    return run.report


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Open]:
    """Open the report in a window of a width and a theme; nothing is asked from a network."""
    contexts = []

    def open_(width: int, theme: str, path: Path = report) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    asked: list[str] = []
    yield open_
    for context in contexts:
        context.close()
    assert {address for address in asked if not address.startswith(("file:", "data:"))} == set()


WINDOWS = [(320, "light"), (320, "dark"), (1280, "light"), (1280, "dark")]
"""A phone and a desk, with either theme."""


@pytest.mark.parametrize("window", quick(WINDOWS, (320, "dark")), ids=str)
def test_axe_finds_nothing(opened: Open, window: tuple[int, str]) -> None:
    page = opened(*window)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert violations(page) == []


@pytest.mark.parametrize("theme", quick(["light", "dark"], "dark"))
def test_a_table_of_labels(opened: Open, classifier: Path, theme: str) -> None:
    """It was a picture on white in both themes, whose letters could not be read on a phone."""
    page = opened(320, theme, classifier)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    table = page.locator("table.confusion")
    assert table.evaluate("table => table.parentElement.scrollWidth - table.scrollWidth") <= 320
    names = table.locator("tbody th").evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect())")
    assert max(name["width"] for name in names) < 160  # half of the screen is left for the counts
    assert contrasts(page) >= 4.5


SHADES = """
[...document.querySelectorAll('table.confusion tbody td')].map(cell => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  return [getComputedStyle(cell).color, getComputedStyle(cell).backgroundColor].map(color => {
    for (const paint of [getComputedStyle(document.body).backgroundColor, color]) {
      canvas.fillStyle = paint; canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  });
})
"""


def contrasts(page: Any) -> float:
    """The lowest contrast of a count with its shade, as a browser paints them."""
    pairs = {(tuple(ink), tuple(ground)) for ink, ground in page.evaluate(SHADES)}
    assert len({ground for _, ground in pairs}) > 1
    return min(contrast(*("#" + bytes(color).hex() for color in pair)) for pair in pairs)


def test_a_phone_scrolls_in_one_direction_only(opened: Open) -> None:
    """Pictures were 384 px wide at least, so a page on a phone moved sideways."""
    page = opened(320, "light")
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    boxes = page.evaluate(
        "[...document.querySelectorAll('.scroll')].map(box => [box.tabIndex, box.getAttribute('aria-label'), "
        "box.scrollWidth > box.clientWidth])"
    )
    assert all(tab == 0 and label for tab, label, _ in boxes)
    assert any(scrolls for _, _, scrolls in boxes)  # wide tables move inside their box


LETTERS = """
[...document.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0).flatMap(svg =>
  [...svg.querySelectorAll('text')].map(text =>
    parseFloat(getComputedStyle(text).fontSize) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))
"""


@pytest.mark.parametrize("width", [320, 639, 640, 900, 1280])
def test_letters_of_pictures_can_be_read(opened: Open, width: int) -> None:
    sizes = opened(width, "light").evaluate(LETTERS)
    assert len(sizes) > 30
    assert min(sizes) >= 11, min(sizes)
    assert max(sizes) < 24, max(sizes)


def test_letters_of_pictures_can_be_selected(opened: Open) -> None:
    page = opened(1280, "light")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('figure.both'))")
    selected = page.evaluate("getSelection().toString()")
    assert "best" in selected
    assert "loss (nats a token)" in selected


@pytest.mark.parametrize(("width", "beside"), [(390, False), (1280, True)])
def test_before_and_after(opened: Open, width: int, beside: bool) -> None:
    page = opened(width, "light")
    before, after = (
        page.locator(".asked").first.locator(".beside > div").nth(place).bounding_box() for place in (0, 1)
    )
    assert (before["y"] == after["y"]) == beside
    assert (before["x"] == after["x"]) != beside


def test_themes_have_their_ground_and_colours(opened: Open) -> None:
    grounds, lines = set(), set()
    for theme in ("light", "dark"):
        page = opened(1280, theme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        lines.add(page.evaluate("getComputedStyle(document.querySelector('[style*=\"--training\"]')).stroke"))
    assert grounds == {"rgb(255, 255, 255)", "rgb(22, 24, 28)"}
    assert len(lines) == 2
