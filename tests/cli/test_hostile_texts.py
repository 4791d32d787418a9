"""Names, prompts and texts beyond UTF-8, a page or a terminal are written correctly or refused in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.records import MetricsFile, SamplesFile, read_events
from glassgpt.runs.report import write_report
from glassgpt.training.events import Noted, Sampled
from tests.fixtures.quick import quick

from .conftest import TINY, refused

LATIN = os.fsdecode(b"caf\xe9")
HOSTILE = {
    "surrogate": "a\ud800b",
    "control": "a\x01\x1b[31mred\x08\x9b",
    "NUL": "a\x00b",
    "script": "</script><script>alert(1)</script></div><!--",
    "right to left": "\u202eabc\u2066",
    "long": "x " * 5000,
    "fence": "```\n# h\n|a|",
    "math": "$\\frac{a}{b$ _^",
}


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def acting(text: str) -> set[str]:
    return {char for char in text if (ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160}


@pytest.mark.parametrize("kind", HOSTILE)
def test_pages_and_pictures_hold_whatever_was_written(workplace: Path, kind: str) -> None:
    """Half a surrogate pair in a sample once ended in a traceback; a page contained NUL and terminal escapes."""
    text = HOSTILE[kind]
    run = RunDirectory(Path("runs/small"))
    config = run.config.read_text()
    for event in (Sampled(6, (text, text)), Noted(6, text)):
        MetricsFile(run.metrics)(event)
    lineage = json.loads(run.lineage.read_text())
    lineage["data"]["sources"][0]["name"] = text
    lineage["base"] = {"name": text, "path": text, "weights": None, "lineage": dict(lineage)}
    run.lineage.write_text(json.dumps(lineage))
    samples = {"numbers": {text: [1, 2]}, "samples": [{"prompt": text, "before": text, "after": text}]}
    run.comparison.write_text(json.dumps(samples))
    assert run.config.read_text() == config
    assert Sampled(6, (text, text)) in read_events(run.metrics)
    write_report(run)
    SamplesFile(run, (text, text))(Sampled(6, (text, text)))
    assert run.metrics.read_bytes().decode("utf-8")
    for path in (run.report, run.samples):
        assert not acting(path.read_bytes().decode("utf-8")), path
    page = Page(run.report.read_text(encoding="utf-8"))
    assert page.tags.isdisjoint({"script", "i"})
    assert "Evaluations" in page.text
    shown = "".join(char if char.isprintable() or char in "\n\u202e\u2066" else "\ufffd" for char in text)
    assert shown.strip() in page.text


@pytest.mark.parametrize(
    "name", quick(["a\x1b[31m\x07", "$\\frac{a}{b$", "\u202eabc", "<b>&amp;", "```"], "a\x1b[31m\x07")
)
def test_a_run_whose_folder_has_such_a_name(glassgpt: Any, workplace: Path, name: str) -> None:
    """A folder may have any name that its file system accepts."""
    shutil.copytree("runs/small", Path("runs", name))
    for command in (
        ("resume", name),
        ("generate", name, "The", "--max-tokens", "2"),
        ("runs", "compare", name, "small", "--output", "compared.png"),
    ):
        result = glassgpt(*command)
        assert result.status == 0, (command, result)
    assert Path("compared.png").read_bytes().startswith(b"\x89PNG")
    for path in (Path("runs", name, "report.html"), Path("runs", name, "samples.md")):
        assert not acting(path.read_bytes().decode("utf-8"))


def command(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Call the command as a process: only there may arguments be bytes that are not UTF-8."""
    return subprocess.run(
        [sys.executable, "-m", "glassgpt", *arguments], capture_output=True, check=False, timeout=300
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("train", f"{LATIN}.txt", *TINY),
        ("train", "text.txt", *TINY, "--samples.prompts", LATIN),
        ("finetune", "sft", "longer", f"{LATIN}.jsonl", *TINY[:3]),
    ],
    ids=["text", "prompt", "records"],
)
def test_what_a_run_cannot_note_is_refused(
    workplace: Path, trained_longer: Path, arguments: tuple[str, ...]
) -> None:
    """Each once ended in a traceback after all the text was prepared, and left a hidden folder among the runs."""
    shutil.copy("text.txt", f"{LATIN}.txt")
    shutil.copytree(trained_longer / "runs/small", "runs/longer")
    records = [{"prompt": f"{n}", "response": "a"} for n in range(30)]
    Path(f"{LATIN}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    before = sorted(os.listdir("runs"))  # noqa: PTH208
    done = command(*arguments)
    said = " ".join(done.stderr.decode().split())
    assert done.returncode == 1
    assert "Traceback" not in said
    assert "caf\\udce9" in said or "caf\\xe9" in said
    assert "is not UTF-8: it holds the byte 0xe9" in said
    assert "Rename" in said
    assert sorted(os.listdir("runs")) == before  # noqa: PTH208


@pytest.mark.slow
def test_what_only_reads_such_names_works(workplace: Path) -> None:
    """`eval` once ended in a traceback when it stored the name of the text beside its tokens."""
    shutil.copy("text.txt", f"{LATIN}.txt")
    for arguments in (
        ("eval", "small", f"{LATIN}.txt"),
        ("data", "inspect", f"{LATIN}.txt"),
        ("tokenizer", "train", f"{LATIN}.txt", "--output", f"{LATIN}.json", "--vocab-size", "280"),
    ):
        done = command(*arguments)
        assert done.returncode == 0, (arguments, done.stderr.decode())


def test_weights_in_such_a_folder_are_not_called_truncated(glassgpt: Any, workplace: Path) -> None:
    """The library that reads weights opens only UTF-8 names; resuming once took every checkpoint for broken."""
    Path(LATIN).mkdir()
    run = str(shutil.copytree("runs/small", f"{LATIN}/small"))
    for name in ("generate", "resume", "export"):
        result = glassgpt(name, run)
        refused(result, "is not UTF-8: it holds the byte 0xe9", "Rename the file or the folder")
        assert "truncated" not in result.errors


@pytest.mark.parametrize("to", ["hf", "gguf", "onnx"])
def test_no_export_has_a_name_that_others_cannot_open(glassgpt: Any, workplace: Path, to: str) -> None:
    """llama.cpp and transformers once failed on it, and the user was asked to report that."""
    refused(glassgpt("export", "small", "--to", to, "--output", LATIN), "is not UTF-8", "another --output")
    assert not Path(LATIN).exists()
