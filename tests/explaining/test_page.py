"""The page of `glassgpt explain --html`: numbers where they belong, text never markup, and readable for everybody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from glassgpt.explaining.page import fitting, page
from glassgpt.explaining.shapes import Answer, Bars, Grid, Rows, Words
from glassgpt.explaining.tour import stops
from glassgpt.explaining.views import Asked, answers, questions
from glassgpt.runs.opening import Run
from tests.fixtures.browser import CHROMIUM, violations

HOSTILE = '<script>alert("&")</script>\n\u202e{{ 1111 * 9 }}'


def test_what_others_wrote_is_text() -> None:
    shown = (
        Words(HOSTILE, (HOSTILE,), (HOSTILE,), (0.5,)),
        Bars(HOSTILE, (HOSTILE,), (HOSTILE,), (-0.5,)),
        Grid(HOSTILE, (HOSTILE,), (HOSTILE,), ((1.0,),), ((HOSTILE,),)),
        Rows(HOSTILE, (HOSTILE,), ((HOSTILE,),), texts=(HOSTILE,)),
    )
    written = page(
        [Answer("a", HOSTILE, HOSTILE, HOSTILE, shown, (HOSTILE,), HOSTILE)], name=HOSTILE, text=HOSTILE
    )
    assert "<script" not in written
    assert "9999" not in written
    assert written.count("&lt;script&gt;") >= 15


def test_numbers_stand_beside_their_bars() -> None:
    bars = Bars("", ("up", "down"), ("+2.00", "-1.00"), (1.0, -0.5))
    written = page([Answer("a", "A", "", "", (bars,))], name="run", text="")
    rows = re.findall(r"<tr>.*?</tr>", written, flags=re.DOTALL)
    assert "up" in rows[0]
    assert "+2.00" in rows[0]
    assert "100%" in rows[0]
    assert "--more" in rows[0]
    assert "-1.00" in rows[1]
    assert "50%" in rows[1]
    assert "--less" in rows[1]


@pytest.mark.parametrize(
    ("rows", "columns", "left"), [(4, 4, (4, 4)), (9, 9, (4, 4)), (3, 20, (3, 5)), (30, 2, (30, 1))]
)
def test_a_large_grid_shows_its_end(rows: int, columns: int, left: tuple[int, int]) -> None:
    names = tuple(map(str, range(rows))), tuple(map(str, range(columns)))
    grid = Grid("All.", *names, tuple(tuple(0.0 for _ in range(columns)) for _ in range(rows)))
    cut = fitting(grid, 16)
    assert (len(cut.shares), len(cut.shares[0])) == left == (len(cut.rows), len(cut.columns))
    assert (cut.rows[-1], cut.columns[-1]) == (str(rows - 1), str(columns - 1))
    assert ("tokens" in cut.caption) == (columns > left[1])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tour", [False, True], ids=["all questions", "tour"])
def test_a_browser_shows_it_to_everybody(run: Run, tmp_path: Path, theme: Any, tour: bool) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
    pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="the extra `browser` is not installed"
    )
    asked = Asked(run, "Once upon a time there was a <b>fox</b>.\n\nThe fox")
    found = stops(asked) if tour else answers(asked, questions(("all",)))
    path = tmp_path / "page.html"
    path.write_text(page(found, name="tales", text=asked.text), encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_context(viewport={"width": 320, "height": 800}, color_scheme=theme).new_page()
        requests: list[str] = []
        opened.on("request", lambda request: requests.append(request.url))
        opened.goto(path.as_uri())
        assert [request for request in requests if not request.startswith("file:")] == []
        assert opened.evaluate("document.documentElement.scrollWidth") == 320
        found_by_axe = violations(opened)
        browser.close()
    assert found_by_axe == []
