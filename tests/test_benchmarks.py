"""The parts of the benchmarks; `make bench QUICK=1` runs the quick form of each."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)


def test_subjects_are_run_in_turn_and_warm_ups_do_not_count() -> None:
    measure = importlib.import_module("benchmarks.measure")
    calls: list[str] = []
    seconds = measure.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}


def test_a_fresh_process_returns_its_value_time_and_memory() -> None:
    measure = importlib.import_module("benchmarks.measure")
    result = measure.fresh(sum, [1, 2])
    assert result.value == 3
    assert 0 <= result.seconds < 10
    assert result.peak_bytes > 1_000_000
    assert measure.fresh(bytearray, 200_000_000).own_bytes >= 190_000_000
    with pytest.raises(TypeError):
        measure.fresh(sum, 3)
    assert measure.timed(lambda: time.sleep(0.01)) >= 0.01


def test_figures_are_written_as_a_table_and_collected(tmp_path: Path) -> None:
    report = importlib.import_module("benchmarks.report")
    summary = importlib.import_module("benchmarks.summary")
    figures = [
        report.Figure("speed of a thing", "2 s", "8 s", 4.0, "at least 3x", True),
        report.Figure("for information", "1 MB"),
    ]
    path = report.write("thing", figures, quick=False, folder=tmp_path)
    text = path.read_text()
    assert "| speed of a thing | 2 s | 8 s | 4.00x | at least 3x | yes |" in text
    assert "machine:" in text
    facts = json.loads((tmp_path / "thing.json").read_text())
    assert facts["machine"]["date"]
    shown = summary.write(("thing", "missing"), tmp_path)
    assert "speed of a thing" in shown
    assert "for information" not in shown  # has no mark


def test_the_peers_are_of_the_size_they_say() -> None:
    notebook = importlib.import_module("benchmarks.peers.notebook")
    nanogpt = importlib.import_module("benchmarks.peers.nanogpt")
    assert sum(weight.numel() for weight in notebook.NotebookModel().parameters()) == 13_716_049
    assert sum(weight.numel() for weight in nanogpt.CharacterModel(65).parameters()) == 804_096
