"""Notes, other names, removing and restoring, and the space that checkpoints take."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from glassgpt import files
from glassgpt.errors import RunError
from glassgpt.runs.claim import writing
from glassgpt.runs.directory import RunDirectory, find_run, list_runs
from glassgpt.runs.keeping import (
    bring_back,
    is_unfinished,
    made_from,
    prune,
    put_away,
    removed,
    rename,
    write_note,
)
from glassgpt.runs.lineage import note_weights
from glassgpt.runs.opening import find_base, open_run
from glassgpt.runs.reading import read_lineage
from glassgpt.runs.records import MetricsFile
from glassgpt.runs.summary import read_note, size_of, summarize
from glassgpt.training.events import TrainingFinished


def names() -> list[str]:
    return [run.name for run in list_runs()]


def made_of(base: RunDirectory, name: str) -> RunDirectory:
    """A copy of a run that names `base` as what it was made from."""
    path = base.path.parent / name
    shutil.copytree(base.path, path)
    lineage = files.read_json(base.lineage)
    of = {
        "name": base.name,
        "path": str(base.path.resolve()),
        "weights": lineage["weights"]["sha256"],
        "lineage": lineage,
    }
    own = {**lineage["weights"], "sha256": "0" * 64}
    files.write_json(path / "lineage.json", {**lineage, "kind": "sft", "base": of, "weights": own})
    return RunDirectory(path)


def test_a_renamed_run_opens_by_its_new_name_and_keeps_no_lock(run: RunDirectory) -> None:
    assert rename(run, "second").path == run.path.with_name("second")
    assert names() == ["second"]
    assert open_run("second").directory.name == "second"
    assert not (run.path.with_name("second") / ".lock").exists()
    with pytest.raises(RunError, match="no run called 'first'"):
        find_run("first")


def test_no_name_is_taken_twice_and_none_is_impossible(run: RunDirectory) -> None:
    shutil.copytree(run.path, run.path.with_name("second"))
    with pytest.raises(RunError, match="exists already"):
        rename(run, "second")
    with pytest.raises(RunError, match="cannot be called"):
        rename(run, "a/b")
    assert sorted(names()) == ["first", "second"]


def test_a_run_in_use_is_neither_renamed_nor_removed_nor_pruned(run: RunDirectory) -> None:
    with writing(run):
        for act in (lambda: rename(run, "second"), lambda: put_away(run)):
            with pytest.raises(RunError, match="is being written by"):
                act()
        assert "being written" in prune(run).kept
        assert names() == ["first"]
    assert any(run.checkpoints.iterdir())


def test_what_was_removed_comes_back_whole(run: RunDirectory) -> None:
    before = {path.relative_to(run.path): path.stat().st_size for path in run.path.rglob("*")}
    path = put_away(run)
    assert names() == []
    assert removed() == ["first"]
    assert path.parent.name == ".removed"
    after = bring_back("first").path
    assert {path.relative_to(after): path.stat().st_size for path in after.rglob("*")} == before
    assert removed() == []


def test_two_removed_runs_of_one_name_are_both_kept(run: RunDirectory) -> None:
    copy = shutil.copytree(run.path, run.path.with_name("copy"))
    put_away(run)
    rename(RunDirectory(copy), "first")
    put_away(run)
    assert removed() == ["first", "first-2"]
    bring_back("first")
    with pytest.raises(RunError, match=r"no removed run called 'first'.*Did you mean first-2"):
        bring_back("first")
    assert bring_back("first-2").name == "first-2"


def test_a_run_elsewhere_is_left_alone(run: RunDirectory, tmp_path: Path) -> None:
    other = RunDirectory(Path(shutil.copytree(run.path, tmp_path / "elsewhere" / "far")))
    with pytest.raises(RunError, match="Only runs in that folder"):
        put_away(other)
    assert other.config.exists()


def test_runs_made_from_a_run_are_known_and_find_it_under_another_name(run: RunDirectory) -> None:
    """A base was found by its path and name only, so that a renamed base made its adapters useless."""
    child = made_of(run, "child")
    assert [(other.name, needs) for other, needs in made_from(run)] == [("child", False)]
    assert made_from(child) == []
    renamed = rename(run, "other")
    assert find_base(child, read_lineage(child)).path == renamed.path
    assert [other.name for other, _ in made_from(renamed)] == ["child"]


def test_pruning_frees_the_checkpoints_of_finished_runs_only(run: RunDirectory) -> None:
    size = size_of(run.checkpoints)
    assert size > 0
    assert prune(run).bytes == size
    assert not run.checkpoints.exists()
    assert prune(run).bytes == 0
    assert open_run("first").complete("Once")


def test_pruning_keeps_what_a_run_still_needs(run: RunDirectory) -> None:
    weights = run.weights.read_bytes()
    run.weights.write_bytes(weights[:-1] + b"x")
    assert "altered" in prune(run).kept
    run.weights.write_bytes(weights)
    MetricsFile(run.metrics)(TrainingFinished(4, "interrupted", 2.0, 4, 3.0))
    assert prune(run).kept == "it is interrupted"
    assert any(run.checkpoints.iterdir())


def test_a_run_killed_after_its_last_step_is_unfinished(run: RunDirectory) -> None:
    state = summarize(run).state
    assert not is_unfinished(run, state)
    note_weights(run, None)
    assert is_unfinished(run, state)


def test_a_note_is_kept_shown_and_removed(run: RunDirectory) -> None:
    write_note(run, "  <b>too $5^ slow\x1b[31m  ")
    assert read_note(run) == summarize(run).note == "<b>too $5^ slow\x1b[31m"
    write_note(run, " ")
    assert read_note(run) == ""
    assert not run.note.exists()
