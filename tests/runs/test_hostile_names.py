"""Nothing from outside is markup: 200 names and samples in pictures, pages and commands. No training ends by one."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from glassgpt import files
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.plots import figure_png, loss_figure, metric_figure
from glassgpt.runs.records import MetricsFile, samples_page
from glassgpt.runs.report import report_page
from glassgpt.training.events import Evaluated, Event, Noted, Sampled
from tests.cli.conftest import SMALL
from tests.cli.conftest import glassgpt as glassgpt
from tests.runs.hostile import ALL, FEW, is_folder_name
from tests.runs.test_report import Page

NAMES = [text for text in ALL if is_folder_name(text)]


def acting(text: str) -> set[str]:
    return {char for char in text if (ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160}


def test_there_are_about_200():
    assert len(ALL) == len(set(ALL)) >= 200
    assert len(NAMES) >= 180


def test_a_picture_holds_every_name():
    """A `$` in a name once was mathematics, and a training ended by a traceback of matplotlib."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for text in [*FEW, *(text for text in ALL if "$" in text)]:
            assert figure_png(loss_figure([], title=text, size=(5, 3))).startswith(b"\x89PNG")
        events = [Evaluated(step, 1, 1, 1, True, 1, 1, {"$x$^$": 0.5}) for step in (0, 5)]
        assert figure_png(metric_figure(events, "$x$^$", title="a$^$b")).startswith(b"\x89PNG")


def test_samples_md_holds_every_text():
    """Markdown knows HTML, so the page is read as Markdown: it holds headings, fences, inline code and nothing else."""
    allowed = {"heading_open", "heading_close", "inline", "paragraph_open", "paragraph_close", "fence"}
    for text in ALL:
        page = samples_page(text, (text, ""), [Evaluated(1, 2.5, 1, 1, True, 1, 1), Sampled(1, (text, text))])
        assert not acting(page), text
        tokens = MarkdownIt("commonmark").parse(page)
        assert {token.type for token in tokens} <= allowed, text
        inside = {child.type for token in tokens for child in token.children or []}
        assert inside <= {"text", "code_inline"}, (text, page)
        assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2"], text
        assert sum(token.type == "fence" for token in tokens) == 2, text


def test_a_report_holds_every_text(run):
    """All at once: as samples, prompts, notes, metrics, scores, sources, and the names of ancestors."""
    plain = {tag for tag, _ in Page(report_page(run)).tags}
    events: list[Event] = [Sampled(12, (text, text)) for text in ALL]
    events += [Noted(12, text) for text in ALL]
    events += [Evaluated(13, 1, 1, 1, True, 1, 1, dict.fromkeys(FEW, 0.5))]
    for event in events:
        MetricsFile(run.metrics)(event)
    lineage = files.read_json(run.lineage)
    lineage["command"] = ["glassgpt", "train", *ALL]
    lineage["machine"]["system"] = lineage["created"] = " ".join(ALL)
    lineage["data"]["sources"] = [{"name": text, "fingerprint": "a"} for text in ALL]
    for text in FEW:
        lineage = lineage | {"base": {"name": text, "path": text, "weights": None, "lineage": lineage}}
    files.write_json(run.lineage, lineage)
    samples = [{"prompt": text, "before": text, "after": text} for text in ALL]
    files.write_json(run.comparison, {"numbers": {text: [1, 2] for text in ALL}, "samples": samples})
    html = report_page(run)
    assert not acting(html)
    page = Page(html)
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= plain | {"h3", "section", "bdi", "b", "span"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for text in ("<script>alert(1)</script>", "{{7*7}}", "&amp;", "你好", "]]>"):
        assert page.text.count(text) >= 6, text


@pytest.mark.filterwarnings("ignore:Glyph")
def test_commands_that_read_runs_of_every_name(run, glassgpt: Any, monkeypatch: pytest.MonkeyPatch):
    """`runs` lists them all, and some are compared."""
    shutil.rmtree(run.checkpoints)
    run.weights.unlink()
    for text in NAMES:
        shutil.copytree(run.path, run.path.with_name(text), dirs_exist_ok=True, copy_function=os.link)
    listed = glassgpt("runs")
    assert listed.status == 0
    assert listed.output.count("finished") == 1 + sum(not text.startswith(".") for text in NAMES)
    assert not acting(listed.output)
    assert "damaged" not in listed.output
    few = [f"{run.path.parent}/{text}" for text in FEW if text in NAMES]
    compared = glassgpt("runs", "compare", *few, "--output", "c.png")
    assert compared.status == 0, compared
    assert not acting(compared.output + compared.errors)


OTHERS = ("a<script>alert(1)", "a[bold]`x`[red]", "日本語 🙂 مرحبا", "x" * 190)
TRAINED = ["a$^$b", *(pytest.param(text, marks=pytest.mark.slow) for text in OTHERS)]
"""Names that `train` accepts: they begin with a letter and hold no control character."""


@pytest.mark.parametrize("name", TRAINED, ids=ascii)
def test_a_training_of_such_a_name_ends_well(
    name: str, tmp_path: Path, glassgpt: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLASSGPT_RUNS", "runs")
    monkeypatch.setenv("GLASSGPT_CACHE", str(tmp_path / "cache"))
    Path("text.txt").write_text("The cat sat on the mat. The dog sat on the log.\n\n" * 60)
    result = glassgpt("train", "text.txt", *SMALL, "--name", name, "--samples.prompts", "<script>$")
    assert result.status == 0, result
    assert "Traceback" not in result.output + result.errors
    assert "could not be made" not in result.output
    assert "failed" not in result.output
    run = RunDirectory(Path("runs", name))
    assert all(path.is_file() for path in (run.weights, run.plot, run.samples, run.report))
    assert "<script>" not in run.report.read_text()
