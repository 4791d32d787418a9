"""The confusion of labels in the report: a table that can be read, selected and heard, whatever its file holds."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt import files
from glassgpt.errors import RunError
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import MOST_LABELS
from glassgpt.runs.packing import pack
from glassgpt.runs.plots import new_figure, save_figure
from glassgpt.runs.reading import read_confusion
from glassgpt.runs.report import report_page
from glassgpt.runs.summary import summarize
from tests.runs.hostile import ALL
from tests.runs.test_hostile_files import EXAMPLES, alter, refusal
from tests.runs.test_report import Page

MOODS = {"labels": ["glad", "sad", "so-so"], "counts": [[30, 10, 0], [1, 19, 0], [0, 0, 0]]}


def table_of(page: str) -> str:
    found = re.search(r'<table class="confusion.*?</table>', page, re.DOTALL)
    assert found is not None
    return found[0]


def test_counts_are_a_table_with_headers(run: RunDirectory) -> None:
    files.write_json(run.confusion_counts, MOODS)
    table = table_of(report_page(run))
    headers = re.findall(r'<th scope="(\w+)"[^>]*><bdi>(.*?)</bdi>', table)
    assert headers == [
        *(("col", name) for name in MOODS["labels"]),
        *(("row", name) for name in MOODS["labels"]),
    ]
    cells = re.findall(r"<td[^>]*>([\d,]+)</td>", table)
    assert [int(cell) for cell in cells] == [30, 10, 0, 40, 1, 19, 0, 20, 0, 0, 0, 0]
    assert re.findall(r"--share: (\d+)%", table) == ["75", "25", "5", "95"]
    text = " ".join(Page(report_page(run)).text.split())
    assert "Rows are the right labels, columns the predicted ones" in text
    assert "49 of 60 held-out texts are right (81.7%)." in text
    assert "Most frequent errors: glad taken for sad (10 of 40), sad taken for glad (1 of 20)." in text


def test_a_run_of_an_older_version_shows_its_picture(run: RunDirectory) -> None:
    save_figure(new_figure()[0], run.confusion)
    page = report_page(run)
    assert 'src="data:image/png' in page
    assert 'class="confusion' not in page
    files.write_json(run.confusion_counts, MOODS)
    assert 'src="data:image/png' not in report_page(run)


def test_a_training_that_was_resumed_does_not_show_what_it_confused_before(run: RunDirectory) -> None:
    files.write_json(run.confusion_counts, MOODS)
    lines = run.metrics.read_text().splitlines(keepends=True)
    run.metrics.write_text("".join(line for line in lines if '"finished"' not in line))
    assert 'class="confusion' not in report_page(run)


@pytest.mark.parametrize("count", [2, 10, 40, MOST_LABELS])
def test_hostile_labels_are_text(run: RunDirectory, count: int) -> None:
    labels = [*ALL, *(label + "!" for label in ALL)][-count:] if count < 40 else ALL[:count]
    files.write_json(
        run.confusion_counts,
        {"labels": labels, "counts": [[row * count + at for at in range(count)] for row in range(count)]},
    )
    page = Page(report_page(run))
    assert page.open == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "i"})
    assert sum(tag == "td" and "--share" in (dict(of).get("style") or "") for tag, of in page.tags) > count


@pytest.mark.parametrize("content", [
    "", "[]", "{}", '{"labels": ["a"], "counts": [[1]]}', '{"labels": ["a", "b"], "counts": [[1, 2]]}',
    '{"labels": ["a", "b"], "counts": [[1, 2], [3]]}', '{"labels": ["a", "b"], "counts": [[1, -2], [3, 4]]}',
    '{"labels": ["a", "b"], "counts": [[1, 2.5], [3, 4]]}', '{"labels": ["a", "b"], "counts": [[1, 1e400], [3, 4]]}',
    '{"labels": ["a", "b"], "counts": [[1, %s], [3, 4]]}' % ("9" * 400), "[" * 10_000,
    json.dumps({"labels": [str(n) for n in range(61)], "counts": [[0] * 61] * 61}),
])  # fmt: skip
def test_damaged_counts_do_not_prevent_a_report(run: RunDirectory, content: str) -> None:
    run.confusion_counts.write_text(content)
    with pytest.raises(RunError, match=r"confusion\.json is damaged"):
        read_confusion(run)
    assert "True and predicted labels" not in report_page(run)
    assert summarize(run).state == "damaged: confusion.json"
    save_figure(new_figure()[0], run.confusion)
    assert 'src="data:image/png' in report_page(run)


@EXAMPLES
@given(data=st.data())
def test_counts_that_were_altered_anywhere(run: RunDirectory, data: st.DataObject) -> None:
    alter(data, run.confusion_counts, json.dumps(MOODS).encode())
    refused = refusal(lambda: read_confusion(run))
    assert refused is None or "confusion.json" in refused


def test_counts_are_packed(run: RunDirectory, tmp_path) -> None:
    files.write_json(run.confusion_counts, MOODS)
    pack(run, tmp_path / "packed")
    assert read_confusion(RunDirectory(tmp_path / "packed")) == read_confusion(run)
    assert 'class="confusion' in (tmp_path / "packed/report.html").read_text()
