"""One page that needs nothing else: no network, no file beside it, no trust in what a model wrote."""

from __future__ import annotations

import base64
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from glassgpt import files
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.records import MetricsFile, read_events
from glassgpt.runs.report import report_page, write_report
from glassgpt.training.events import Evaluated, Sampled

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, the text, and whether all tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def test_the_page_is_self_contained(run):
    html = report_page(run)
    page = Page(html)
    assert page.open == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    addresses = [
        value for _, attributes in page.tags for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster")
    ]  # fmt: skip
    assert len(addresses) == 4  # the loss, and three details
    for address in addresses:
        assert address is not None
        kind, _, content = address.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content)[:8] == b"\x89PNG\r\n\x1a\n"
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


def test_the_page_tells_the_run(run):
    text, lineage = Page(report_page(run)).text, files.read_json(run.lineage)
    evaluations = [event for event in read_events(run.metrics) if isinstance(event, Evaluated)]
    assert len(evaluations) == 4
    for event in evaluations:
        assert f"{event.loss:.4f}" in text
        assert f"Step {event.step}, validation loss {event.loss:.3f}" in text
    assert f"{lineage['model']['parameters']:,}" in text
    assert f"{lineage['data']['floor']['loss']:.3f}" in text
    assert "builtin:tinytales:60:1" in text
    assert "1,536" in text  # 12 steps of 4 windows of 32 tokens
    assert "context_length = 32" in text
    sampled = [event for event in read_events(run.metrics) if isinstance(event, Sampled)]
    assert f"Once{sampled[-1].texts[1].rstrip()}" in text  # the prompt and what follows


def test_what_models_and_people_write_is_text_and_never_markup(run):
    renamed = RunDirectory(run.path.rename(run.path.with_name("a<i>&b")))
    evil = "<script>alert(1)</script><img src=https://x.example/a.png> &amp; \"quoted\" 'too' </div>"
    MetricsFile(renamed.metrics)(Sampled(12, (evil, "plain")))
    config = renamed.config.read_text()
    renamed.config.write_text(config.replace('"Once"', '"<b>Once</b>"'))
    page = Page(report_page(renamed))
    assert evil in page.text
    assert "a<i>&b" in page.text
    assert "<b>Once</b>plain" in page.text
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "i"})
    assert all((attributes.get("src") or "data:").startswith("data:") for _, attributes in page.tags)


def test_a_run_without_samples_evaluations_or_floor_has_a_page_too(run):
    run.metrics.write_text("")
    lineage = files.read_json(run.lineage)
    lineage["data"]["floor"] = None
    files.write_json(run.lineage, lineage)
    page = Page(report_page(run))
    assert page.open == []
    assert "No samples were asked for." in page.text
    assert "lowest possible loss" not in page.text


def test_the_file_is_written_in_utf_8(run):
    MetricsFile(run.metrics)(Sampled(12, ("Grüße 🙂 \x85 \u2028 \x00", "")))
    write_report(run)
    assert "Grüße 🙂" in run.report.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_the_page_without_asking_the_network(run, tmp_path):
    write_report(run)
    picture = tmp_path / "page.png"
    common = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    subprocess.run(
        [*common, "--window-size=900,1400", f"--screenshot={picture}", run.report.as_uri()],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert picture.stat().st_size > 40_000  # with the curve on it; a blank page has a few thousand bytes
