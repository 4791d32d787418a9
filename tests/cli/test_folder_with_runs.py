"""Texts and runs in the same folder: a second training reads what the first one read."""

from __future__ import annotations

from pathlib import Path

import pytest

from glassgpt.corpus.passed_over import kind_of_folder
from glassgpt.runs.directory import find_run
from glassgpt.runs.reading import read_lineage
from tests.cli.conftest import SMALL, TEXT, Command


def test_a_second_training_in_the_same_folder_reads_the_same_text(
    glassgpt: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    for name in ("first", "second"):
        result = glassgpt("train", ".", "--name", name, *SMALL)
        assert result.status == 0, result.errors
    first, second = (read_lineage(find_run(name)).data for name in ("first", "second"))
    assert first == second
    assert "Using the tokens prepared earlier" in result.output
    assert "1 run directory (runs/first)" in " ".join(result.output.split())
    assert kind_of_folder(Path("runs/first")) == "run directory"
