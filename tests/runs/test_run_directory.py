"""Making runs, finding them again, and never overwriting one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glassgpt.errors import RunError
from glassgpt.runs.directory import RunDirectory, create_run, find_run, list_runs, refuse_taken, runs_folder


def make(name: str, *, changed: float) -> RunDirectory:
    """A run that was last worked on at a time."""
    run = create_run(name, base="")
    run.config.write_text("")
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
    (runs_here / "tales-2").rmdir()
    assert create_run(None, base="tales").name == "tales-2"


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("my text (old)", "my-text-old-1"),
        ("../../etc", "etc-1"),
        ("книга", "run-1"),
        ("", "run-1"),
        ("a.b_c-d", "a.b_c-d-1"),
    ],
)
def test_a_name_made_from_a_file_is_a_plain_word(runs_here, base, name):
    run = create_run(None, base=base)
    assert run.name == name
    assert run.path.parent == runs_here


def test_nothing_is_ever_overwritten(runs_here):
    (create_run("mine", base="").path / "config.toml").write_text("")
    with pytest.raises(RunError, match=r"mine exists already.*glassgpt resume .*mine"):
        create_run("mine", base="")
    with pytest.raises(RunError, match="exists already"):
        refuse_taken("mine")
    assert create_run("left-empty-by-a-crash", base="") == create_run("left-empty-by-a-crash", base="")
    (runs_here / "a-file").write_text("")
    with pytest.raises(RunError, match="exists already"):
        create_run("a-file", base="")


@pytest.mark.parametrize(
    "name", ["", "latest", ".", "..", "../outside", "a/b", "/tmp/x", "a\\b", "-x", ".hidden", "_x"]
)
def test_names_that_could_not_be_found_again_are_refused(runs_here, name):
    """A run called `latest` could never be opened by its name; one called `a/b` was in no list."""
    with pytest.raises(RunError, match="A run cannot be called"):
        create_run(name, base="")
    assert list(runs_here.iterdir()) == []


@pytest.mark.parametrize("name", ["run-1", "7", "Ein Versuch", "été", "a.b"])
def test_names_a_person_may_choose(runs_here, name):
    make(name, changed=1)
    assert find_run(name).name == name


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


def test_what_is_not_there_names_what_is_near(runs_here):
    make("tinytales-1", changed=1)
    make("shakespeare-1", changed=2)
    with pytest.raises(RunError, match=r"no run called 'tinytale-1'.* Did you mean tinytales-1"):
        find_run("tinytale-1")
    with pytest.raises(RunError, match="`glassgpt runs` lists the runs there are"):
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
