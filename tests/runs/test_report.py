"""One page that needs nothing else: no network, no file beside it, no trust in what a model wrote."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from glassgpt import files
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.plots import FLOOR, MEASURED, TRAINING, VALIDATION
from glassgpt.runs.records import MetricsFile, read_events
from glassgpt.runs.report import report_page, write_report
from glassgpt.runs.sending import public_command
from glassgpt.training.events import Evaluated, Event, Sampled, TrainingFinished

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
    names = [name for _, attributes in page.tags for name in [attributes.get("id")] if name]
    assert len(names) == len(set(names))
    assert {address.removeprefix("#") for address in addresses if address} <= set(names)
    assert "http:" not in html
    assert "https:" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert "@import" not in html
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) == 5  # the loss for a desk and for a phone, and three details
    assert all(attributes["aria-labelledby"] in names for attributes in pictures)


def test_a_picture_is_described_with_its_numbers(run):
    text = Page(report_page(run)).text
    evaluations = [event for event in read_events(run.metrics) if isinstance(event, Evaluated)]
    first, last = evaluations[0], evaluations[-1]
    assert f"On held-out data: from {first.loss:.4g} (step 0) to {last.loss:.4g} (step 12)" in text
    assert "The lowest possible loss is " in text
    assert "Learning rate: from " in text


def test_the_page_names_its_command_and_no_private_path(run):
    lineage = files.read_json(run.lineage)
    private = "/home/ana/clients/secret novels/one.txt"
    lineage["command"] = [
        "/home/ana/venv/bin/glassgpt",
        "train",
        private,
        "../notes/two.txt",
        "three.txt",
        "--name=a b",
    ]
    lineage["command"] += [
        f"--recipe={private}",
        "C:\\Users\\ana\\four.txt",
        "~/five.txt",
        "builtin:tinytales:60:1",
    ]
    lineage["data"]["sources"][0]["name"] = private
    files.write_json(run.lineage, lineage)
    config = (
        run.config.read_text()
        .replace('"builtin:tinytales:60:1"', f'"{private}"')
        .replace('"Once"', '"/Once/upon"')
    )
    run.config.write_text(config)
    text = Page(report_page(run)).text
    shown = 'train one.txt two.txt three.txt "--name=a b" --recipe=one.txt four.txt five.txt builtin:tinytales:60:1'
    assert f"glassgpt {shown}" in " ".join(text.split())
    for secret in ("ana", "clients", "secret", "notes", "Users"):
        assert secret not in text, secret
    assert '"/Once/upon"' in text  # a prompt is text, not a path


@pytest.mark.parametrize("words", [[], ["glassgpt"], ["glassgpt", "-c", "tests"]])
def test_a_run_that_a_script_made_shows_no_command(words):
    """`sys.argv` is the script's, so `glassgpt` before it would be a command that does not exist."""
    assert public_command(words) == []


def _luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast of two colours by WCAG, 1 to 21."""
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_lines_and_letters_stand_out_from_the_ground_in_both_themes(run):
    themes = [
        dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in report_page(run).split("color-scheme: dark;")
    ]
    assert len(themes) == 2
    for theme in themes:
        for line in ("training", "measured", "validation", "floor"):
            assert contrast(theme[line], theme["ground"]) >= 3, line
        for letters in ("ink", "quiet"):
            assert all(contrast(theme[letters], theme[ground]) >= 4.5 for ground in ("ground", "soft")), (
                letters
            )
    for color in (TRAINING, MEASURED, VALIDATION, FLOOR):
        assert contrast(color, "#ffffff") >= 3


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


def cut(run: RunDirectory, *, at: int, ends: Sequence[Event] = ()) -> None:
    """Leave the metrics of a run as they were after a step, with further events."""
    kept = [event for event in read_events(run.metrics) if event.step <= at]
    run.metrics.write_text("")
    for event in [*(event for event in kept if not isinstance(event, TrainingFinished)), *ends]:
        MetricsFile(run.metrics)(event)
    os.utime(run.metrics, (1_795_815_000, 1_795_815_000))


def told(run: RunDirectory) -> str:
    """The text of a report, each space and line end as one space."""
    return " ".join(Page(report_page(run)).text.split())


def test_the_page_of_a_training_that_goes_on_or_was_killed_says_how_far_it_is(run):
    cut(run, at=8)
    text = told(run)
    assert re.search(
        r"This training is not finished: step 8 of 12, \d+ s so far; as of 27 November 2026, 21:30 UTC\.",
        text,
    )
    assert "Load the page again for newer numbers." in text
    assert "If it no longer runs, continue it with: glassgpt resume first" in text
    assert text.index("not finished") < text.index("parameters")


def test_the_page_of_a_training_that_has_just_begun(run):
    cut(run, at=0)
    assert re.search(r"This training is not finished: step 0 of 12, \d+ s so far; as of 27", told(run))
    run.metrics.write_text("".join(run.metrics.read_text().splitlines(keepends=True)[:1]))
    text = told(run)
    assert "This training is not finished: step 0 of 12" in text
    assert "No samples yet." in text


def test_the_page_of_a_training_that_was_stopped_says_how_to_continue(run):
    cut(run, at=8, ends=[TrainingFinished(8, "interrupted", 4.0, 8, 75.0)])
    text = told(run)
    assert "This training was stopped at step 8 of 12, after 75 s; as of 27 November 2026, 21:30 UTC." in text
    assert "Continue it with: glassgpt resume first" in text
    assert "not finished" not in text
    assert "Load the page again" not in text


@pytest.mark.parametrize("reason", ["finished", "no improvement"])
def test_a_finished_training_is_not_called_unfinished(run, reason):
    cut(run, at=12, ends=[TrainingFinished(12, reason, 4.0, 8, 75.0)])
    text = told(run)
    for words in ("not finished", "was stopped", "as of", "Load the page again", "glassgpt resume"):
        assert words not in text


def test_a_run_that_was_given_away_cannot_be_continued(run):
    """A packed run has no checkpoints."""
    cut(run, at=8)
    shutil.rmtree(run.checkpoints)
    text = told(run)
    assert "This training is not finished: step 8 of 12" in text
    assert "glassgpt resume" not in text
    assert "Load the page again" not in text


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
