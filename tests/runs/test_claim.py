"""One process at a time writes to a run, and says who it is; a crash frees the run."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from glassgpt import files
from glassgpt.errors import DiskFullError, RunError
from glassgpt.pretraining.run import resume_run
from glassgpt.runs.claim import take, writing
from glassgpt.runs.directory import LOCK, RunDirectory
from glassgpt.runs.opening import open_run
from glassgpt.runs.summary import summarize

HOLD = """
import sys, time
from pathlib import Path
from glassgpt.runs.claim import writing
from glassgpt.runs.directory import RunDirectory
with writing(RunDirectory(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(run: RunDirectory):
    """Another process that writes to the run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_two_at_once_are_refused_with_who_it_is_and_reading_is_not(run: RunDirectory, holder) -> None:
    """Two `resume` commands at once ended in a traceback, and one removed the checkpoint that the other was writing."""
    with pytest.raises(RunError, match=rf"first is being written by .*process {holder.pid} on .*since"):
        resume_run("first")
    assert open_run("first").tokenizer
    assert summarize(run).state == "finished"


def test_a_crash_sets_it_free(run: RunDirectory, holder) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (run.path / LOCK).is_file()
    with writing(run):
        said = json.loads((run.path / LOCK).read_text())
        assert said["pid"] == os.getpid()
    assert not (run.path / LOCK).exists()


def test_a_process_that_meets_a_removed_lock_file_takes_the_new_one(run: RunDirectory) -> None:
    with writing(run):
        descriptor = os.open(run.path / LOCK, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of a file that is no longer there
    with writing(run) as claim:
        claim.check()
    os.close(descriptor)


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_without_file_locks_the_named_holder_decides(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """The system's answer is simulated, because every file system of a test machine has locks."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    over = subprocess.Popen([sys.executable, "-c", ""])
    over.wait()
    name = os.uname().nodename if host == "here" else host
    words = {"pid": over.pid, "host": name, "command": "glassgpt resume first", "since": "yesterday"}
    (run.path / LOCK).write_text(json.dumps(words))
    if host == "elsewhere":
        with pytest.raises(RunError, match=r"on elsewhere, since yesterday.*If that process is over, delete"):
            take(run)
        return
    with writing(run):  # its process is over
        (run.path / LOCK).write_text(json.dumps({**words, "pid": os.getppid()}))
        with pytest.raises(RunError, match=f"process {os.getppid()}"):
            take(run)


def test_leftovers_of_a_kill_are_removed_and_a_whole_folder_is_put_in_its_place(run: RunDirectory) -> None:
    """They stayed forever. After a kill between two renames, the only adapter had a hidden name."""
    left = [
        run.path / ".metrics.jsonl.0a1b2c3d",
        run.path / ".loss.png.deadbeef",
        run.checkpoints / ".step-00000099.12345678",
    ]
    left[0].write_text("half")
    left[1].write_text("half")
    left[2].mkdir()
    (left[2] / "model.safetensors").write_text("half")
    keep = run.path / ".my-notes"
    keep.write_text("mine")
    whole = run.path / ".adapter.0a1b2c3d"
    whole.mkdir()
    (whole / "adapter_model.safetensors").write_text("all of it")
    files.seal(whole)
    with writing(run):
        assert not any(path.exists() for path in left)
        assert keep.read_text() == "mine"
        assert (run.adapter / "adapter_model.safetensors").read_text() == "all of it"
        assert not whole.exists()


def test_a_run_deleted_while_it_is_written_ends_with_a_sentence(run: RunDirectory) -> None:
    with writing(run) as claim:
        shutil.rmtree(run.path)
        with pytest.raises(RunError, match="was deleted or moved while the run was written"):
            claim.check()
    with pytest.raises(RunError, match="no run called 'first'"):
        resume_run("first")


def test_a_training_whose_folder_is_deleted_ends_with_a_sentence(run: RunDirectory) -> None:
    shutil.rmtree(run.checkpoints)
    run.weights.unlink()

    def delete(_event: object) -> None:
        shutil.rmtree(run.path, ignore_errors=True)

    with pytest.raises(RunError, match="was deleted or moved while the run was written"):
        resume_run("first", listeners=[delete])
    assert not run.path.exists()


def test_a_full_disk_names_the_command_that_goes_on(run: RunDirectory) -> None:
    """The message said to run the same command again, but `train --name` refuses an existing run."""
    with (
        pytest.raises(
            DiskFullError, match=r"Free some space, then resume with:  glassgpt resume .*first"
        ) as caught,
        writing(run),
        files.explain_writing(run.metrics),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "same command" not in str(caught.value)


def test_a_lost_checkpoint_line_is_written_again(run: RunDirectory) -> None:
    """After a kill between a checkpoint's rename and its line, the file had one checkpoint too few."""
    before = run.metrics.read_text()
    lines = before.splitlines(keepends=True)
    last = max(index for index, line in enumerate(lines) if '"checkpoint"' in line)
    run.metrics.write_text("".join(lines[:last]))
    resume_run("first")
    assert run.metrics.read_text().count('"checkpoint"') == before.count('"checkpoint"')
    found = [json.loads(line) for line in run.metrics.read_text().splitlines() if '"checkpoint"' in line]
    assert found == [json.loads(line) for line in lines if '"checkpoint"' in line]


def test_the_words_of_a_lock_are_for_people_only(run: RunDirectory) -> None:
    for content in (b"", b"[1]", b"\xff", b"{}", b'{"pid": "x"}'):
        (run.path / LOCK).write_bytes(content)
        with writing(run):
            pass
