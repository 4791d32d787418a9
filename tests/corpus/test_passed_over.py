"""A folder of texts gives the same text before and after GlassGPT has worked in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from glassgpt.corpus.sources import open_sources
from glassgpt.errors import CorpusError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path = tmp_path / "tales"
    tmp_path.mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tale.txt").write_text("A lamp was lit.")
    return tmp_path


def fingerprints(spec: str) -> list[str]:
    return [source.fingerprint for source in open_sources([spec])]


def make_run(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[training]\n")
    (folder / "metrics.jsonl").write_text('{"text": "step 1"}\n')
    (folder / "samples.md").write_text("Gibberish.")


@pytest.mark.parametrize("spec", [".", "**", "*", "./**/*.*", "../t*/**"])
def test_what_is_no_text_is_passed_over(spec: str, folder: Path) -> None:
    """`plan .` advised `train .`, which read the metrics and samples of the run it had made before."""
    before = fingerprints(spec)
    make_run(folder / "runs" / "first")
    make_run(folder / "elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "mine"], check=True)
    (folder / "mine" / "licence.txt").write_text("Not a tale.")
    (folder / "build").mkdir()
    (folder / "build" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (folder / "build" / "log.txt").write_text("Not a tale.")
    (folder / "out").mkdir()
    (folder / "out" / "config.json").write_text('{"text": "no"}')
    (folder / "out" / "model.safetensors").write_bytes(b"")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.txt").write_text("Not a tale.")
    (folder / "words.json").write_text('{\n  "version": "1.0",\n  "truncation": null}')
    (folder / "result.json").write_text('{\n  "run": "first",\n  "loss": null}')
    assert fingerprints(spec) == before


def test_prepared_data_is_passed_over(folder: Path) -> None:
    (folder / "prepared").mkdir()
    (folder / "prepared" / "tokenizer.json").write_text("{}")
    (folder / "prepared" / "manifest.json").write_text('{"plan": "", "splits": {}}')
    (source,) = open_sources(["."])
    assert "1 folder of prepared data (prepared)" in source.notes[0]


def test_what_is_passed_over_is_counted(folder: Path) -> None:
    make_run(folder / "runs" / "first")
    make_run(folder / "runs" / "second")
    (source,) = open_sources(["."])
    assert source.notes[0] == (
        "Passed over in ., because it is no text of yours: 2 run directories (runs/first, ...)."
    )


def test_folders_are_known_by_what_they_hold_not_by_their_names(folder: Path) -> None:
    for name in ("runs", "venv", "cache"):
        (folder / name).mkdir()
        (folder / name / f"{name}.txt").write_text(f"A tale of {name}.")
    (folder / "records.json").write_text(json.dumps([{"text": "A tale."}]))
    assert len(open_sources(["."])) == 5


def test_a_run_named_as_text_is_refused(folder: Path) -> None:
    make_run(folder / "runs" / "first")
    with pytest.raises(CorpusError, match="is a run directory, not a folder of texts"):
        open_sources(["runs/first"])
