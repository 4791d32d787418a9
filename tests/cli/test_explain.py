"""`glassgpt explain`: answers in a terminal of any width and without one, as a page, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from glassgpt.explaining.views import USUAL, VIEWS
from tests.cli.conftest import Command, refused

pytestmark = pytest.mark.usefixtures("workplace")
TEXT = "The cat sat on the"


def test_without_a_question_the_usual_ones_are_answered(glassgpt: Command) -> None:
    result = glassgpt("explain", "small", TEXT)
    assert result.status == 0
    lines = result.output.splitlines()
    assert [line for line in lines if line in {view.title for view in VIEWS.values()}] == [
        VIEWS[name].title for name in USUAL
    ]
    assert "More with --what: choice, attention," in result.output
    assert "\x1b" not in result.output
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_question_fits_a_window(glassgpt: Command, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = glassgpt("explain", "small", f"{TEXT} mat. The dog", "--what", "all")
    assert result.status == 0
    wide = [line for line in result.output.splitlines() if len(line) > width and "glassgpt" not in line]
    assert wide == [] or width < 80  # columns of numbers are never cut


def test_what_may_be_a_list(glassgpt: Command) -> None:
    result = glassgpt("explain", "small", TEXT, "--what", "next, lens", "--token", " mat")
    assert "What comes next" in result.output
    assert "Depth by depth" in result.output
    assert "Tokens" not in result.output
    assert re.search(r'".*" has \S+%, rank \d', result.output)


def test_the_tour(glassgpt: Command) -> None:
    result = glassgpt("explain", "small", TEXT, "--tour")
    assert result.status == 0
    assert [int(found) for found in re.findall(r"(?m)^(\d+)\. [A-Z]", result.output)] == list(range(1, 11))
    assert "glassgpt/model/gpt.py, line" in result.output


def test_a_page(glassgpt: Command, workplace: Path) -> None:
    text = 'The <b>cat</b> & "dog"'
    result = glassgpt("explain", "small", text, "--what=all", "--html", "seen.html")
    assert result.status == 0
    assert "seen.html" in result.output
    page = (workplace / "seen.html").read_text(encoding="utf-8")
    assert "<b>cat" not in page
    assert "The &lt;b&gt;cat&lt;/b&gt; &amp;" in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    refused(glassgpt("explain", "small", text, "--html", "seen.html"), "exists already", "--force")
    assert glassgpt("explain", "small", text, "--html", "seen.html", "--force").status == 0
    inside = workplace / "runs" / "small" / "config.toml"
    refused(glassgpt("explain", "small", text, "--html", str(inside), "--force"), "one of the files")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("small", TEXT, "--what", "lense"), ("no question 'lense'", "lens")),
        (("small", "x" * 200), ("tokens", "context")),
        (("small", TEXT, "--what", "attention", "--layer", "4"), ("no layer 4",)),
        (("small", TEXT, "--what", "patch"), ("--instead",)),
        (("small", TEXT, "--top-k", "3"), ("--top-k has no effect", "--what choice")),
        (("small", TEXT, "--head", "1", "--what", "lens"), ("--head has no effect", "attention")),
        (("small", TEXT, "--force"), ("--force has no effect without --html",)),
        (("small", TEXT, "--tour", "--what", "lens"), ("--what has no effect with --tour",)),
        (("small", "two", "words"), ("needs quotes",)),
        (("small", TEXT, "--token", "\udcff"), ("--token is not UTF-8",)),
        (("smal", TEXT), ("Did you mean small?",)),
        (("small", TEXT, "--what", "choice", "--temperature=-1"), ("temperature",)),
    ],
)
def test_what_it_refuses(glassgpt: Command, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    refused(glassgpt("explain", *words), *parts)


def test_an_empty_text_is_the_beginning(glassgpt: Command) -> None:
    """A model that begins texts with a mark can be asked what it expects first; another one says what is missing."""
    result = glassgpt("explain", "small", "")
    assert result.status == 0 or "The text is empty" in result.errors
    assert "Traceback" not in result.errors


def test_foreign_characters_do_no_harm(glassgpt: Command) -> None:
    result = glassgpt("explain", "small", "The\x1b[31m\n\tcat\u202e", "--what", "tokens,words,attention,lens")
    assert result.status == 0
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
