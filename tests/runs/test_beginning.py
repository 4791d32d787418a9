"""A run is created completely or not at all, also when its process is killed at any moment."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from glassgpt import files
from glassgpt.errors import RunError
from glassgpt.runs.beginning import new_run
from glassgpt.runs.directory import RunDirectory, find_run, list_runs, refuse_taken

FILES = ("finetune.toml", "config.toml", "tokenizer.json", "lineage.json")


def describe(run: RunDirectory) -> None:
    for name in FILES:
        files.write_text(run.path / name, name)


def test_a_run_that_cannot_be_described_leaves_nothing(runs_here: Path) -> None:
    def fail(run: RunDirectory) -> None:
        describe(run)
        assert list_runs() == []  # nobody sees a part of it
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), new_run("tale", base="", describe=fail):
        pass
    assert list(runs_here.iterdir()) == []


BEGIN = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    sys.addaudithook(lambda name, args: count(name, args))
    step, at, folder = 0, int(sys.argv[1]), os.environ["GLASSGPT_RUNS"]

    def count(name, args):
        '''Kill this process at a call of the system about a file of the run: the one before which it is to end.'''
        global step
        if name in ("open", "os.rename", "os.mkdir", "os.remove", "fcntl.flock") and (
            name == "fcntl.flock" or any(str(arg).startswith(folder) for arg in args)
        ):
            step += 1
            if step == at:
                os.kill(os.getpid(), signal.SIGKILL)

    from glassgpt import files
    from glassgpt.runs.beginning import new_run

    def describe(run):
        for name in ("finetune.toml", "config.toml", "tokenizer.json", "lineage.json"):
            files.write_text(run.path / name, name)

    with new_run("tale", base="", describe=describe):
        print("begun", flush=True)
    """
)


def test_killed_before_any_call_of_the_system_a_run_is_there_whole_or_not_at_all(runs_here: Path) -> None:
    """A fine-tuning killed between its files could never be resumed, and its name was taken."""
    ends: list[str] = []
    for at in range(1, 200):
        process = subprocess.run(
            [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{BEGIN}", str(at)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        shown = [path.name for path in runs_here.iterdir() if not path.name.startswith(".")]
        if shown:
            assert shown == ["tale"]
            assert all((runs_here / "tale" / name).read_text() == name for name in FILES)
            refused = pytest.raises(RunError, match="exists already")
            with refused:
                refuse_taken("tale")
            shutil.rmtree(runs_here / "tale")
        else:
            refuse_taken("tale")  # the name is free
        ends.append("whole" if shown else "nothing")
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr
    assert ends.count("nothing") > 10
    assert ends[-1] == "whole"
    assert ends == sorted(ends)  # nothing, nothing, ..., whole, whole
    with new_run("next", base="", describe=describe):
        pass
    assert [path.name for path in runs_here.iterdir()] == ["next"]  # all hidden folders are removed


def test_the_hidden_folder_of_a_living_process_is_left_alone(runs_here: Path) -> None:
    def begin_another(run: RunDirectory) -> None:
        describe(run)
        with new_run("second", base="", describe=describe):
            pass
        assert run.config.is_file()

    with new_run("first", base="", describe=begin_another) as claim:
        assert claim.run.config.is_file()
    mine = runs_here / ".mine.0a1b2c3d"  # looks like one, and has no lock in it
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with new_run("third", base="", describe=describe):
        pass
    assert (mine / "letter.txt").is_file()


TOGETHER = textwrap.dedent(
    """
    import sys
    from glassgpt.errors import RunError
    from glassgpt.runs.beginning import new_run
    def describe(run):
        run.config.write_text(sys.argv[2])
        print("ready", flush=True)
        sys.stdin.readline()
    try:
        with new_run(sys.argv[1] or None, base="tale", describe=describe) as claim:
            print(claim.run.name)
    except RunError as error:
        print("refused", error)
    """
)


def begin_together(name: str) -> list[str]:
    """Let two processes describe a run at the same time, then let both finish at once."""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, name, who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in ("one", "two")
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said: list[str] = []
    threads = [
        threading.Thread(
            target=lambda process=process: said.append(process.communicate("go\n", timeout=60)[0])
        )
        for process in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(said)


def test_two_of_one_name_at_the_same_moment(runs_here: Path) -> None:
    refused, made = sorted(begin_together("same"), key=lambda line: not line.startswith("refused"))
    assert made == "same\n"
    assert "exists already" in refused
    assert [path.name for path in runs_here.iterdir()] == ["same"]


def test_two_of_one_base_at_the_same_moment(runs_here: Path) -> None:
    assert begin_together("") == ["tale-1\n", "tale-2\n"]
    assert {(runs_here / name / "config.toml").read_text() for name in ("tale-1", "tale-2")} == {"one", "two"}


def test_what_older_versions_left_of_a_killed_beginning_is_free(runs_here: Path) -> None:
    """`finetune --name k` said to resume, but `resume k` said that there was no such run."""
    old = runs_here / "k"
    old.mkdir()
    (old / "finetune.toml").write_text('kind = "sft"\n')
    (old / ".config.toml.0a1b2c3d").write_text("half")
    with pytest.raises(RunError, match=r"was killed at its start.*with --name k"):
        find_run("k")
    with new_run("k", base="", describe=describe):
        pass
    assert (old / "finetune.toml").read_text() == "finetune.toml"


def test_a_folder_that_may_hold_more_is_never_taken_and_the_way_out_works(runs_here: Path) -> None:
    """An import killed before its config left weights: to use the name, they must be moved away."""
    old = runs_here / "my run"
    old.mkdir()
    (old / "model.safetensors").write_text("weights")
    with pytest.raises(RunError, match=r"is not a run: it has no config\.toml") as caught:
        refuse_taken("my run")
    command = str(caught.value).split("move it away:  ")[1]
    subprocess.run(command, shell=True, check=True)
    with new_run("my run", base="", describe=describe) as claim:
        assert claim.run.config.is_file()
    assert (runs_here / "my run.old" / "model.safetensors").read_text() == "weights"
