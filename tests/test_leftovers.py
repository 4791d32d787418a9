"""The next writer removes what a killed process left half written, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from glassgpt import leftovers
from glassgpt.files import atomic_directory, atomic_write, temporary_folder, write_text

HANG = """
    import os, signal, sys, time
    from pathlib import Path
    from glassgpt.files import atomic_directory, atomic_write, temporary_folder

    kind, path = sys.argv[1], Path(sys.argv[2])
    with {"file": atomic_write, "directory": atomic_directory, "folder": temporary_folder}[kind](path) as made:
        print("writing", flush=True)
        time.sleep(60)
"""


def writing(kind: str, path: Path) -> subprocess.Popen[str]:
    """Start a process that has begun to write at a path and continues until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HANG), kind, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def write(kind: str, path: Path) -> None:
    if kind == "file":
        write_text(path, "new")
    elif kind == "directory":
        with atomic_directory(path) as folder:
            (folder / "a").write_text("new")
    else:
        with temporary_folder(path):
            pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["file", "directory", "folder"])
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(
    tmp_path: Path, kind: str
) -> None:
    """A hidden file of any size once stayed beside an output forever."""
    path = tmp_path / "out"
    killed, living = writing(kind, path), writing(kind, path)
    try:
        assert len(names(tmp_path)) == 2
        killed.kill()
        killed.wait()
        write(kind, path)
        assert len([name for name in names(tmp_path) if name.startswith(".")]) == 1
        assert living.poll() is None
    finally:
        living.kill()
        living.wait()
    write(kind, path)
    assert names(tmp_path) == ["out"] * (kind != "folder")


def test_only_names_of_the_same_place_are_looked_at(tmp_path: Path) -> None:
    mine = [
        ".out.1234567",
        ".out.123456789",
        ".out.ABCDEF12",
        ".other.12345678",
        "out.12345678",
        ".out.txt.12345678",
    ]
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".out.aaaaaaaa").mkdir()
    (tmp_path / ".out.aaaaaaaa" / "folder").mkdir()  # nothing that is written here contains a folder
    (tmp_path / ".out.bbbbbbbb").symlink_to(tmp_path / ".other.12345678")
    write_text(tmp_path / "out", "new")
    assert names(tmp_path) == sorted([*mine, "out", ".out.aaaaaaaa", ".out.bbbbbbbb"])


def test_nothing_is_removed_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / ".out.12345678").write_text("perhaps of a living process on another machine")
    write_text(tmp_path / "out", "new")
    assert names(tmp_path) == [".out.12345678", "out"]
    assert (tmp_path / "out").read_text() == "new"


def test_what_was_taken_before_it_had_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making a file and locking it another process may take it for abandoned."""
    made: list[Path] = []
    real = leftovers._locked

    def make(path: Path) -> None:
        path.touch(exist_ok=False)
        made.append(path)
        if len(made) == 1:
            leftovers.remove_abandoned(tmp_path, "out")

    def late(path: Path) -> int:
        descriptor = real(path)
        if len(made) == 2:
            path.unlink()
            path.touch()  # of another process, by chance under the same name
        return descriptor

    monkeypatch.setattr(leftovers, "_locked", late)
    with leftovers.claimed(tmp_path / "out", make) as path:
        assert path == made[2]
        assert path.exists()


def test_a_file_that_was_put_into_its_place_is_not_taken_for_a_leftover(tmp_path: Path) -> None:
    for _ in range(50):
        with atomic_write(tmp_path / "out") as file:
            file.write("new")
            leftovers.remove_abandoned(tmp_path, "out")
        assert names(tmp_path) == ["out"]
