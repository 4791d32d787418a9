"""Measurements are kept for the machine they were made on, and a damaged file costs a measurement, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glassgpt.machine import kept
from glassgpt.machine.facts import machine_facts


def test_an_answer_comes_back_with_its_figures() -> None:
    assert kept.recall("threads") is None
    kept.keep("threads", "2", ratio=1.6)
    kept.keep("precision", "float32")
    found = kept.recall("threads")
    assert found is not None
    assert (found.choice, found.figures) == ("2", {"ratio": 1.6})
    assert found.measured[:2] == "20"
    assert sorted(kept.all_kept()) == ["precision", "threads"]
    kept.forget()
    assert kept.all_kept() == {}


@pytest.mark.parametrize("variable", ["ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS"])
def test_other_kernels_are_another_machine(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.keep("threads", "2")
    monkeypatch.setenv(variable, "another")
    assert kept.recall("threads") is None


def test_the_facts_name_what_a_figure_depends_on() -> None:
    facts = machine_facts()
    assert facts.processor
    assert facts.cores >= 1
    assert facts.kernels in {"DEFAULT", "AVX2", "AVX512", "NO AVX"} or facts.kernels
    assert facts.fingerprint == machine_facts().fingerprint


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_bytes_count_as_nothing_kept_and_are_replaced(content: bytes) -> None:
    file = kept.kept_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    assert kept.all_kept() == {}
    kept.keep("threads", "1")
    assert kept.recall("threads") is not None


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"version": 0, "answers": {}}', '{"version": 1, "answers": {"threads": 2}}']
)
def test_other_shapes_count_as_nothing_kept(content: str) -> None:
    file = kept.kept_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    assert kept.recall("threads") is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("GLASSGPT_CACHE", str(tmp_path / "file"))
    kept.keep("threads", "2")
    assert kept.recall("threads") is None
    kept.forget()


def test_an_answer_for_now_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    kept.note_for_now("threads", "1")
    assert kept.recall_for_now("threads") == "1"
    assert kept.recall("threads") is None
    monkeypatch.setattr(kept, "FOR_NOW_SECONDS", -1.0)
    assert kept.recall_for_now("threads") is None
