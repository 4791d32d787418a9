"""A packed run works anywhere, says what it is, and names no folder of the machine that made it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glassgpt import files
from glassgpt.errors import RunError
from glassgpt.generation.text import GenerationConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.opening import open_run
from glassgpt.runs.packing import pack
from glassgpt.runs.reading import read_config, read_lineage
from glassgpt.runs.summary import size_of

OLD = Path(__file__).parents[1] / "fixtures" / "runs-2026-11" / "runs"


def test_a_packed_run_writes_the_same_and_is_small(run: RunDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "far away" / "for you"
    pack(run, folder)
    assert size_of(folder) < size_of(run.path) / 2
    assert not (folder / "checkpoints").exists()
    assert files.broken_seal(folder) is None
    settings = GenerationConfig(max_tokens=12, seed=3)
    assert open_run(str(folder)).complete("Once", settings) == open_run("first").complete("Once", settings)
    page = (folder / "README.md").read_text()
    assert "# `first`" in page
    assert "glassgpt generate" in page
    assert "first" in (folder / "report.html").read_text()


def test_a_packed_report_of_a_stopped_training_says_when_it_was_stopped(
    run: RunDirectory, tmp_path: Path
) -> None:
    run.metrics.write_text(run.metrics.read_text().replace('"reason": "finished"', '"reason": "interrupted"'))
    os.utime(run.metrics, (1_795_815_000, 1_795_815_000))
    pack(run, tmp_path / "packed")
    page = " ".join((tmp_path / "packed/report.html").read_text().split())
    assert "This training was stopped at step 12 of 12" in page
    assert "as of 27 November 2026, 21:30 UTC" in page
    assert "glassgpt resume" not in page  # the checkpoints stay behind


@pytest.mark.parametrize("name", ["garden", "whole", "sorter", "polite"])
def test_no_folder_of_the_machine_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of these runs was in /home/ada/garden."""
    monkeypatch.chdir(tmp_path)
    pack(RunDirectory(OLD / name), tmp_path / "packed")
    assert "/home/ada" in (OLD / name / "config.toml").read_text()
    for path in (tmp_path / "packed").iterdir():
        assert b"/home/ada" not in path.read_bytes(), path
        assert str(OLD).encode() not in path.read_bytes(), path
    opened = open_run("packed")
    assert opened.lineage.weights_hash == open_run(str(OLD / name)).lineage.weights_hash


def test_labels_and_prompts_that_look_like_paths_are_packed_as_they_are(
    run: RunDirectory, tmp_path: Path
) -> None:
    """A classifier with the label /r/python was refused after it was packed: the lineage had python."""
    labels, prompts = ["/r/python", "~/x/y"], ("/Once/upon",)
    files.write_json(run.lineage, files.read_json(run.lineage) | {"labels": labels})
    run.config.write_text(run.config.read_text().replace('"Once"', '"/Once/upon"'))
    pack(run, tmp_path / "packed")
    packed = RunDirectory(tmp_path / "packed")
    assert read_lineage(packed).labels == labels
    assert read_config(packed).samples.prompts[1:] == prompts


def test_what_cannot_be_packed_says_why(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="glassgpt export"):
        pack(RunDirectory(OLD / "choosy"), tmp_path / "no")
    run.weights.write_bytes(b"x")
    with pytest.raises(RunError, match="no whole final weights"):
        pack(run, tmp_path / "no")
    assert not (tmp_path / "no").exists()
