"""Files survive what happens to files: exceptions, kill -9, a full disk, a changed byte, no network."""

from __future__ import annotations

import contextlib
import errno
import functools
import http.server
import os
import random
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glassgpt import files
from glassgpt.errors import AccessError, CorpusError, DiskFullError, GlassGPTError, OfflineError
from glassgpt.files import (
    MANIFEST,
    atomic_directory,
    atomic_write,
    broken_seal,
    download,
    hash_file,
    hash_text,
    read_json,
    seal,
    write_json,
    write_text,
)
from tests.fixtures import places


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    with places.small_disk(tmp_path / "small-disk", "1m") as folder:
        yield folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Writing a file


def test_a_written_file_holds_utf8_with_plain_line_ends(tmp_path: Path):
    write_text(tmp_path / "new" / "folder" / "a.txt", "é\nß\r\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == b"\xc3\xa9\n\xc3\x9f\r\n"
    assert names(tmp_path / "new" / "folder") == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write("new" * 100_000)
            file.flush()
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_what_is_written_has_the_rights_that_the_user_gives_new_files(tmp_path: Path):
    """With umask 077 nobody else may read what is written; once everything was made readable for all."""
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "a.txt", "private")
        with atomic_directory(tmp_path / "d") as folder:
            (folder / "b.txt").write_text("private")
    finally:
        os.umask(before)
    modes = [
        (tmp_path / name).stat().st_mode & 0o777 for name in ("a.txt", "d", "d/b.txt", "d/manifest.json")
    ]
    assert modes == [0o600, 0o700, 0o600, 0o600]


REWRITE_FOREVER = """
    import itertools, sys
    from pathlib import Path
    from glassgpt.files import atomic_directory, atomic_write

    path = Path(sys.argv[2])
    for version in itertools.count(1):
        lines = f"{version:09d}\\n" * 50_000
        if sys.argv[1] == "file":
            with atomic_write(path) as file:
                for at in range(0, len(lines), 10_000):
                    file.write(lines[at : at + 10_000])
                    file.flush()
        else:
            with atomic_directory(path) as folder:
                for name in ("a", "b", "c"):
                    (folder / name).write_text(lines)
        if version == 1:
            print("written once", flush=True)
"""


def kill_while_writing(kind: str, path: Path) -> None:
    """Start a process that writes `path` again and again, and kill it -9 at a random moment."""
    command = [sys.executable, "-c", textwrap.dedent(REWRITE_FOREVER), kind, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written once\n"
        time.sleep(random.uniform(0, 0.03))
        process.kill()


@pytest.mark.parametrize("attempt", range(6))
def test_a_killed_process_leaves_a_whole_file(tmp_path: Path, attempt: int):
    path = tmp_path / "a.txt"
    kill_while_writing("file", path)
    lines = path.read_text().splitlines()
    assert len(lines) == 50_000
    assert len(set(lines)) == 1


@pytest.mark.parametrize("attempt", range(6))
def test_a_killed_process_leaves_a_whole_directory(tmp_path: Path, attempt: int):
    """Replacing a directory once deleted the old one first, file by file: a kill then left a part of it."""
    path = tmp_path / "d"
    kill_while_writing("directory", path)
    if path.exists():  # else it was killed between two renames
        assert broken_seal(path) is None
        assert len({(path / name).read_text() for name in ("a", "b", "c")}) == 1


# A full disk


def test_a_full_disk_leaves_the_old_file(small_disk: Path):
    path = small_disk / "a.bin"
    with atomic_write(path, "wb") as file:
        file.write(b"old")
    with pytest.raises(DiskFullError) as caught, atomic_write(path, "wb") as file:
        file.write(bytes(2_000_000))
    assert path.read_bytes() == b"old"
    assert names(small_disk) == ["a.bin"]
    assert str(path) in str(caught.value)
    assert "Free some space" in str(caught.value)


def test_a_full_disk_leaves_the_old_directory(small_disk: Path):
    with atomic_directory(small_disk / "d") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(DiskFullError), atomic_directory(small_disk / "d") as folder:
        (folder / "a").write_bytes(bytes(2_000_000))
    assert (small_disk / "d" / "a").read_text() == "old"
    assert broken_seal(small_disk / "d") is None
    assert names(small_disk) == ["d"]


def test_a_full_disk_met_by_safetensors_is_explained_too(small_disk: Path):
    """Its error is not an OSError: the error number is in its text."""
    import torch
    from safetensors.torch import save_file

    with pytest.raises(DiskFullError), atomic_directory(small_disk / "checkpoint") as folder:
        save_file({"weight": torch.zeros(500_000)}, folder / "model.safetensors")
    assert names(small_disk) == []


def test_no_room_even_for_a_name_is_explained(small_disk: Path):
    """A disk can run out of inodes before it runs out of bytes."""
    command = ["mount", "-o", "remount,nr_inodes=2", str(small_disk)]
    subprocess.run(command, check=True)
    write_text(small_disk / "a", "takes the last place")
    with pytest.raises(DiskFullError):
        write_text(small_disk / "b", "finds none")
    with pytest.raises(DiskFullError), atomic_directory(small_disk / "c"):
        pass


def test_only_a_full_disk_is_called_one(tmp_path: Path):
    with pytest.raises(AccessError, match="no permission"), files.explain_writing(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(ValueError, match="other"), files.explain_writing(tmp_path):
        raise ValueError("other")


# Sealed directories


def test_an_exception_leaves_the_old_directory(tmp_path: Path):
    path = tmp_path / "d"
    with atomic_directory(path) as folder:
        (folder / "a").write_text("old")
        assert not path.exists()

    def fail() -> None:
        with atomic_directory(path) as folder:
            (folder / "a").write_text("new")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert (path / "a").read_text() == "old"
    assert names(tmp_path) == ["d"]


def test_a_directory_is_replaced_whole(tmp_path: Path):
    for letters in (("a", "b"), ("b", "c")):
        with atomic_directory(tmp_path / "d") as folder:
            for name in letters:
                (folder / name).write_text(name)
    assert names(tmp_path / "d") == ["b", "c", MANIFEST]
    assert broken_seal(tmp_path / "d") is None
    assert names(tmp_path) == ["d"]


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "sealed"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"12345678")
    (folder / "b.bin").write_bytes(b"")
    (folder / ".b.bin.1a2b").write_bytes(b"left by a crash")
    (folder / "journal").write_bytes(b"soon removed")
    seal(folder, leave_out=("journal",), colour="blue")
    return folder


def test_a_seal_lists_the_files_that_matter_and_the_facts(sealed: Path):
    manifest = read_json(sealed / MANIFEST)
    assert list(manifest["files"]) == ["a.bin", "b.bin"]
    assert manifest["files"]["a.bin"] == {
        "sha256": "ef797c8118f02dfb649607dd5d3f8c7623048c9c063d532cc95c5ed7a898a64f",  # sha256sum
        "bytes": 8,
    }
    assert manifest["colour"] == "blue"
    assert broken_seal(sealed) is None
    assert broken_seal(sealed, hashes=False) is None


def test_a_broken_seal_is_described(sealed: Path):
    (sealed / "a.bin").write_bytes(b"12345679")
    assert broken_seal(sealed) == "a.bin was altered"
    assert broken_seal(sealed, hashes=False) is None  # the size is right
    (sealed / "a.bin").write_bytes(b"1234567")
    assert broken_seal(sealed, hashes=False) == "a.bin has 7 bytes instead of 8"
    (sealed / "a.bin").unlink()
    assert broken_seal(sealed, hashes=False) == "a.bin is missing"
    (sealed / MANIFEST).unlink()
    assert broken_seal(sealed) == "it was never finished"
    assert broken_seal(sealed / "nowhere") == "it was never finished"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"files": []}', '{"files": {"a.bin": {}}}', '{"files": {"a.bin": 3}}']
)
def test_a_manifest_of_any_other_kind_is_refused_not_tripped_over(sealed: Path, text: str):
    (sealed / MANIFEST).write_text(text)
    assert broken_seal(sealed) == "its manifest.json cannot be read"


def test_json_and_hashes(tmp_path: Path):
    value = {"b": [1, 2.5, None], "a": "é"}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == value
    assert list(read_json(tmp_path / "v.json")) == ["b", "a"]
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert hash_text("abc") == hash_file(tmp_path / "abc") == known
    assert len(hash_text("\ud800")) == 64  # a broken half of a character can be hashed, too


# A lock between processes


def test_a_lock_is_waited_for_and_ends_with_its_process(tmp_path: Path):
    hold = "import sys, time; from pathlib import Path; from glassgpt.files import locked\n"
    hold += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", hold, str(tmp_path / "lock")]
    entered = threading.Event()

    def wait_for_it() -> None:
        with files.locked(tmp_path / "lock"):
            entered.set()

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        assert not entered.wait(0.2)
        process.kill()
        assert entered.wait(10)
        waiting.join()


# Folders of the cache, which several processes write to

LEFT_BY_A_KILL = (".gpt2-1.json.0a1b2c3d", "tmpk3_x9abc")
KEPT = ("gpt2-1.json", "tmp.txt", ".notes", "temporary")


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder with leftovers of killed processes and with other files, all last written an hour ago."""
    for name in (*LEFT_BY_A_KILL, *KEPT):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - 3600,) * 2)
    return tmp_path


def test_what_killed_processes_left_in_a_shared_folder_is_removed(crowded: Path):
    """The partial file of a killed download once stayed forever, and so did half a vocabulary."""
    with files.shared_folder(crowded):
        assert names(crowded) == sorted([".lock", *KEPT])


def test_what_was_written_a_moment_ago_may_be_of_a_process_that_holds_no_lock(crowded: Path):
    for name in LEFT_BY_A_KILL:
        os.utime(crowded / name)
    with files.shared_folder(crowded):
        assert names(crowded) == sorted([".lock", *KEPT, *LEFT_BY_A_KILL])


def test_nothing_is_removed_while_another_process_writes(crowded: Path):
    """Even if its download has been waiting for long, as in a process that was stopped with Ctrl-Z."""
    hold = "import sys, time; from pathlib import Path; from glassgpt.files import shared_folder\n"
    hold += "with shared_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    (crowded / "elsewhere").mkdir()
    for name in LEFT_BY_A_KILL:
        (crowded / name).rename(crowded / "elsewhere" / name)
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(crowded)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for name in LEFT_BY_A_KILL:
            (crowded / "elsewhere" / name).rename(crowded / name)
        with files.shared_folder(crowded):  # neither waits for the other
            assert set(LEFT_BY_A_KILL) <= set(names(crowded))
        process.kill()
    with files.shared_folder(crowded):
        assert not set(LEFT_BY_A_KILL) & set(names(crowded))


def test_a_killed_download_leaves_nothing_for_good(server: str, isolated_cache: Path):
    folder = isolated_cache / "downloads"
    begin = "import sys; from glassgpt.files import download; download(sys.argv[1], sha256='0' * 64, name='lamp.txt')"
    with subprocess.Popen([sys.executable, "-c", begin, f"{server}/endless.txt"]) as process:
        deadline = time.monotonic() + 60
        while not list(folder.glob("tmp*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    (left,) = folder.glob("tmp*")
    os.utime(left, (time.time() - 3600,) * 2)
    for _ in range(2):
        download(f"{server}/lamp.txt", sha256=SHA256, name="lamp.txt")
        assert names(folder) == [".lock", "lamp.txt"]
        os.utime(shutil.copy(folder / "lamp.txt", left), (time.time() - 3600,) * 2)


@pytest.mark.parametrize("folder", ["tokenizers", "machine"])
def test_the_other_folders_of_the_cache_are_cleared_as_well(
    isolated_cache: Path, folder: str, tiktoken_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    from glassgpt.machine.kept import keep
    from glassgpt.tokenizers.ready_made import ready_made_json

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tiktoken_cache))
    left = isolated_cache / folder / ".gpt2-1.json.0a1b2c3d"
    for _ in range(2):  # also when the requested file exists
        left.parent.mkdir(exist_ok=True)
        left.write_text("{")
        os.utime(left, (time.time() - 3600,) * 2)
        if folder == "tokenizers":
            ready_made_json("gpt2")
        else:
            keep("threads", "2")
        assert not left.exists()


def test_a_cache_that_can_only_be_read_serves_what_it_holds(isolated_cache: Path):
    """The lock of such a cache cannot be made."""
    from glassgpt.tokenizers.ready_made import ready_made_json

    (isolated_cache / "tokenizers" / ".lock").mkdir(
        parents=True
    )  # root may write anywhere, but not to a folder
    (isolated_cache / "tokenizers" / "gpt2-1.json").write_text("{}")
    assert ready_made_json("gpt2") == "{}"


# Downloads, from a real server on this machine

CONTENT = b"Once there was a lamp.\n" * 100
SHA256 = hash_text(CONTENT.decode())


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path not in ("/cut-short.txt", "/endless.txt"):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100])
        if self.path == "/endless.txt":
            self.wfile.flush()
            self.rfile.read(1)  # until the client has gone
        return None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "lamp.txt").write_bytes(CONTENT)
    (tmp_path / "web" / "big.bin").write_bytes(bytes(2_000_000))
    handler = functools.partial(Handler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_file_is_downloaded_once(server: str, unreachable: str, isolated_cache: Path):
    path = download(f"{server}/lamp.txt", sha256=SHA256, name="lamp-1.txt")
    assert path == isolated_cache / "downloads" / "lamp-1.txt"
    assert path.read_bytes() == CONTENT
    assert download(f"{unreachable}/lamp.txt", sha256=SHA256, name="lamp-1.txt") == path


def test_another_file_than_expected_is_refused_and_not_kept(server: str, isolated_cache: Path):
    with pytest.raises(CorpusError, match="not the file that was expected"):
        download(f"{server}/lamp.txt", sha256="0" * 64, name="lamp.txt")
    assert list(isolated_cache.rglob("*.txt")) == []


@pytest.mark.parametrize("name", ["missing.txt", "cut-short.txt"])
def test_a_failed_download_leaves_nothing(server: str, isolated_cache: Path, name: str):
    with pytest.raises(OfflineError, match="could not be reached"):
        download(f"{server}/{name}", sha256=SHA256, name=name)
    assert list(isolated_cache.rglob("*.txt")) == []


def test_without_a_network_the_message_says_which_file_to_put_where(unreachable: str, isolated_cache: Path):
    with pytest.raises(OfflineError) as caught:
        download(f"{unreachable}/lamp.txt", sha256=SHA256, name="lamp.txt")
    for part in (f"{unreachable}/lamp.txt", str(isolated_cache / "downloads" / "lamp.txt"), SHA256[:16]):
        assert part in str(caught.value)


def test_a_file_put_there_by_hand_works_offline_and_is_checked(unreachable: str, isolated_cache: Path):
    target = isolated_cache / "downloads" / "lamp.txt"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert download(f"{unreachable}/lamp.txt", sha256=SHA256, name="lamp.txt") == target
    target.write_bytes(CONTENT + b"more")
    with pytest.raises(CorpusError, match="Delete it"):
        download(f"{unreachable}/lamp.txt", sha256=SHA256, name="lamp.txt")


def test_a_full_disk_is_not_called_a_missing_network(
    server: str, small_disk: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GLASSGPT_CACHE", str(small_disk))
    with pytest.raises(DiskFullError):
        download(f"{server}/big.bin", sha256=SHA256, name="big.bin")


def test_a_cache_that_cannot_be_written_is_not_called_a_missing_network(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("GLASSGPT_CACHE", str(tmp_path / "a-file"))
    with pytest.raises(AccessError, match="GLASSGPT_CACHE: set that"):
        download(f"{server}/lamp.txt", sha256=SHA256, name="lamp.txt")


def test_every_trouble_of_this_module_can_be_caught_as_one(small_disk: Path):
    with contextlib.suppress(GlassGPTError), atomic_write(small_disk / "a", "wb") as file:
        file.write(bytes(2_000_000))
    assert names(small_disk) == []
