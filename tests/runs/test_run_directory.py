"""Making runs, finding them again, and never overwriting one."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from glassgpt.errors import RunError
from glassgpt.runs.beginning import new_run
from glassgpt.runs.directory import MOST_BYTES, RunDirectory, find_run, list_runs, refuse_taken, runs_folder


def create_run(name: str | None, *, base: str) -> RunDirectory:
    """A run that has only a config."""
    with new_run(name, base=base, describe=lambda run: run.config.write_text("") and None) as claim:
        return claim.run


def make(name: str, *, changed: float) -> RunDirectory:
    """A run that was last worked on at a time."""
    run = create_run(name, base="")
    run.metrics.write_text("")
    for file in (run.config, run.metrics):
        os.utime(file, (changed, changed))
    return run


def test_runs_live_where_the_variable_says_or_here(runs_here, monkeypatch):
    assert runs_folder() == runs_here
    monkeypatch.setenv("GLASSGPT_RUNS", "")
    assert runs_folder() == Path("runs")
    monkeypatch.delenv("GLASSGPT_RUNS")
    assert runs_folder() == Path("runs")
    assert create_run("a", base="").path.resolve() == Path.cwd() / "runs" / "a"


def test_without_a_name_the_first_free_number_is_taken(runs_here):
    assert [create_run(None, base="tales").name for _ in range(3)] == ["tales-1", "tales-2", "tales-3"]
    shutil.rmtree(runs_here / "tales-2")
    assert create_run(None, base="tales").name == "tales-2"


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("my text (old)", "my-text-old-1"),
        ("../../etc", "etc-1"),
        ("книга", "книга-1"),
        ("हिन्दी कथा", "हिन्दी-कथा-1"),
        ("e\u0301tude", "\u00e9tude-1"),
        ("「物語」", "物語-1"),
        ("🙂", "run-1"),
        ("--a__", "a__-1"),
        ("", "run-1"),
        ("a.b_c-d", "a.b_c-d-1"),
    ],
)
def test_a_name_made_from_a_file_is_a_plain_word(runs_here, base, name):
    run = create_run(None, base=base)
    assert run.name == name
    assert run.path.parent == runs_here


def test_nothing_is_ever_overwritten(runs_here):
    create_run("mine", base="")
    with pytest.raises(RunError, match=r"mine exists already.*glassgpt resume .*mine"):
        create_run("mine", base="")
    with pytest.raises(RunError, match="exists already"):
        refuse_taken("mine")
    (runs_here / "left-empty-by-a-crash").mkdir()
    assert create_run("left-empty-by-a-crash", base="").config.is_file()
    (runs_here / "a-file").write_text("")
    with pytest.raises(RunError, match="exists already"):
        create_run("a-file", base="")


@pytest.mark.parametrize(
    "name", ["", "latest", ".", "..", "../outside", "a/b", "/tmp/x", "a\\b", "-x", ".hidden", "_x", "a\0b", "a\nb",
             "a\x1b[31m", "x" * 300, "é" * 101]
)  # fmt: skip
def test_names_that_could_not_be_found_again_are_refused(runs_here, name):
    """A run called `latest` could never be opened by its name; one called `a/b` was not listed."""
    with pytest.raises(RunError, match=r"A run cannot be called|is too long for a run") as caught:
        create_run(name, base="")
    assert len(str(caught.value)) < 300
    assert list(runs_here.iterdir()) == []


@pytest.mark.parametrize("name", ["run-1", "7", "Ein Versuch", "été", "a.b"])
def test_names_a_person_may_choose(runs_here, name):
    make(name, changed=1)
    assert find_run(name).name == name


def test_a_long_name_is_cut_where_file_systems_would_refuse_it(runs_here):
    """The limit is 255 bytes, including a number and a temporary name; a letter takes up to four of them."""
    for base in ("a" * 300, "ü" * 300, "物" * 300, "a" + "\u0301" * 400):
        first, second = (create_run(None, base=base) for _ in range(2))
        assert first.name.endswith("-1")
        assert second.name.endswith("-2")
        assert len(first.name.encode()) <= MOST_BYTES
        assert find_run(first.name).path == first.path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        ("a\0b", "no run called"),
        ("~nouser", "no run called '~nouser'"),
        ("x" * 300, "no run called 'xxx"),
        ("x/" * 4000, "no run called"),
        ("Once upon a time there was a fox. " * 20, "no run called 'Once upon"),
        ("file.txt", "is a file, and a run is a folder"),
        ("loop", "cannot be read"),
        ("away", "is a link to /nowhere/at/all, which does not exist"),
    ],
)
def test_what_cannot_be_a_run_is_said_in_a_sentence(runs_here, name, says):
    """A long text in place of a run ended in `OSError: File name too long`."""
    Path("file.txt").write_text("no run")
    Path("loop").symlink_to("loop")
    (runs_here / "away").symlink_to("/nowhere/at/all")
    with pytest.raises(RunError, match=re.escape(says)) as caught:
        find_run(name)
    assert len(str(caught.value)) < 400


def test_a_name_in_another_form_of_the_same_letters_is_found(runs_here):
    run = create_run("\u00e9t\u00e9", base="")
    assert find_run("e\u0301te\u0301").path == run.path


def test_a_folder_of_runs_that_cannot_be_read_is_not_an_empty_one(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLASSGPT_RUNS", str(tmp_path / "file"))
    with pytest.raises(RunError, match="cannot be read"):
        list_runs()


def test_a_run_whose_config_is_gone_is_still_listed(run):
    run.config.unlink()
    assert [each.name for each in list_runs()] == ["first"]
    with pytest.raises(RunError, match="no config"):
        find_run("first")


def test_runs_are_listed_in_the_order_they_were_worked_on(runs_here):
    make("b", changed=300)
    make("a", changed=100)
    newest = make("c", changed=200)
    (runs_here / "not-a-run").mkdir()
    (runs_here / "file").write_text("")
    assert [run.name for run in list_runs()] == ["a", "c", "b"]
    os.utime(newest.metrics, (400, 400))  # it is training now
    assert [run.name for run in list_runs()] == ["a", "b", "c"]
    assert find_run("latest").name == "c"


def test_there_may_be_no_runs_at_all(runs_here):
    assert list_runs() == []
    runs_here.rmdir()
    assert list_runs() == []
    with pytest.raises(RunError, match=r"There is no run in .* yet\. Make one with:  glassgpt train"):
        find_run("latest")


def test_a_run_is_found_by_name_and_by_path(runs_here, monkeypatch):
    run = make("tales-1", changed=1)
    assert find_run("tales-1").path == run.path
    assert find_run(str(run.path)).path == run.path
    monkeypatch.chdir(run.path)
    assert find_run(".").name == "tales-1"


def test_an_unknown_run_name_suggests_similar_ones(runs_here):
    make("tinytales-1", changed=1)
    make("shakespeare-1", changed=2)
    with pytest.raises(RunError, match=r"no run called 'tinytale-1'.* Did you mean tinytales-1"):
        find_run("tinytale-1")
    with pytest.raises(RunError, match="`glassgpt runs` lists the runs"):
        find_run("zzz")


def test_a_folder_that_is_no_run_says_so(tmp_path, runs_here):
    with pytest.raises(RunError, match=r"is not a run: it has no config\.toml"):
        find_run(str(tmp_path))


def test_the_layout_is_what_the_module_says(run):
    here = {path.name for path in run.path.iterdir()}
    assert here == {
        "config.toml", "tokenizer.json", "model.safetensors", "lineage.json", "checkpoints",
        "metrics.jsonl", "samples.md", "loss.png", "report.html",
    }  # fmt: skip
    for path in (
        run.config,
        run.tokenizer,
        run.weights,
        run.lineage,
        run.metrics,
        run.samples,
        run.plot,
        run.report,
    ):
        assert path.is_file(), path
    assert run.checkpoints.is_dir()
