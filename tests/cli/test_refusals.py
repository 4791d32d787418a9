"""Errors of the operating system: no permission, no space, no memory, names and variables that lead nowhere.

Each is one paragraph with status 1. An unreadable file is never reported as missing or as something to delete.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import TINY, refused

NOBODY = 65534
SMALL = (*TINY, "--model.context-length=16", "--tokenizer.kind=char")
TRAIN = ("train", "text.txt", *SMALL)


@pytest.fixture
def place(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that anybody may enter, with the trained run and its text, and a cache."""
    folder = Path(tempfile.mkdtemp(prefix="glassgpt-test-"))
    shutil.copytree(trained / "runs", folder / "runs")
    shutil.copytree(trained / "cache", folder / "cache")
    shutil.copy(trained / "text.txt", folder)
    (folder / "mine.toml").write_text("[training]\nsteps = 2\n")
    shutil.copy(folder / "runs/small/tokenizer.json", folder)
    (folder / "texts").mkdir()
    shutil.copy(trained / "text.txt", folder / "texts")
    open_all(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GLASSGPT_RUNS", "runs")
    monkeypatch.setenv("GLASSGPT_CACHE", str(folder / "cache"))
    yield folder
    shutil.rmtree(folder)


def open_all(folder: Path) -> None:
    folder.chmod(0o777)
    for path in folder.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Act as a user without rights during the block, because root may read and write everything."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no users to change to")
    if os.geteuid() != 0:  # then permissions already apply
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def without_rights(glassgpt: Any, place: Path, closed: Path, *command: str, mode: int = 0o000) -> Any:
    """Call a command once with all rights, so that everything is imported, and then with `closed` closed."""
    kept = Path(tempfile.mkdtemp())
    shutil.copytree(place, kept / "copy")
    try:
        glassgpt(*command)
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(kept / "copy", place, dirs_exist_ok=True)
    finally:
        shutil.rmtree(kept)
    open_all(place)
    closed.chmod(mode)
    try:
        with nobody():
            return glassgpt(*command)
    finally:
        closed.chmod(0o777)


@pytest.mark.parametrize(
    ("closed", "command"),
    [
        ("text.txt", TRAIN),
        ("texts", ("train", "texts", *SMALL)),
        ("texts/text.txt", ("train", "texts", *SMALL)),
        ("text.txt", ("plan", "text.txt", "--minutes", "0.1")),
        ("text.txt", ("data", "inspect", "text.txt")),
        ("texts", ("data", "inspect", "texts")),
        ("text.txt", ("tokenizer", "train", "text.txt", "--output", "new.json")),
        ("texts", ("eval", "small", "texts/text.txt")),
        ("mine.toml", ("train", "text.txt", "--recipe", "mine.toml")),
        ("tokenizer.json", ("tokenizer", "encode", "tokenizer.json", "text")),
        ("tokenizer.json", ("data", "inspect", "text.txt", "--tokenizer", "tokenizer.json")),
        ("cache", TRAIN),
    ],
)
def test_what_may_not_be_read(glassgpt: Any, place: Path, closed: str, command: tuple[str, ...]) -> None:
    refused(without_rights(glassgpt, place, place / closed, *command), closed)


RUN_FILES = ("", "config.toml", "tokenizer.json", "model.safetensors", "lineage.json")


@pytest.mark.parametrize("closed", RUN_FILES)
def test_a_run_that_may_not_be_read(glassgpt: Any, place: Path, closed: str) -> None:
    """A lineage without read permission was once called missing, with the advice to delete the rest."""
    result = without_rights(glassgpt, place, place / "runs/small" / closed, "generate", "small", "The")
    refused(result, str(Path("runs/small") / closed))


@pytest.mark.parametrize("command", [("runs",), ("generate", "latest", "The"), ("resume", "latest")])
def test_a_folder_of_runs_that_may_not_be_read_is_not_called_empty(
    glassgpt: Any, place: Path, command: tuple[str, ...]
) -> None:
    result = without_rights(glassgpt, place, place / "runs", *command)
    refused(result, "runs")
    assert "There is no run" not in result.errors


@pytest.mark.parametrize(
    ("closed", "command"),
    [
        ("runs", (*TRAIN, "--name", "new")),
        ("runs", TRAIN),
        ("shut", ("tokenizer", "train", "text.txt", "--output", "shut/new.json")),
        ("shut", ("runs", "compare", "small", "small", "--output", "shut/new.png")),
        ("shut", ("plan", "text.txt", "--minutes", "0.1", "--output", "shut/new.toml")),
        ("shut", ("eval", "small", "--tasks", "induction", "--json", "shut/new.json")),
        ("shut", ("export", "small", "--to", "gguf", "--output", "shut/new.gguf")),
        ("shut", ("export", "small", "--to", "hf", "--output", "shut/new")),
    ],
)
def test_what_may_not_be_written(glassgpt: Any, place: Path, closed: str, command: tuple[str, ...]) -> None:
    (place / "shut").mkdir()
    refused(without_rights(glassgpt, place, place / closed, *command, mode=0o555), closed)
    assert not list((place / "shut").iterdir())


@pytest.mark.parametrize("variable", ["GLASSGPT_RUNS", "GLASSGPT_CACHE"])
@pytest.mark.parametrize("value", ["text.txt", "n" * 300, "text.txt/below"])
def test_a_variable_that_leads_nowhere(
    glassgpt: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    refused(glassgpt(*TRAIN), variable)


@pytest.mark.parametrize("value", ["text.txt", "n" * 300])
def test_a_vocabulary_folder_that_leads_nowhere(
    glassgpt: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch, isolated_cache: Path, value: str
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", value)
    monkeypatch.setenv("GLASSGPT_CACHE", str(isolated_cache))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    refused(glassgpt("tokenizer", "encode", "gpt2", "text"), "TIKTOKEN_CACHE_DIR")


LONG = "n" * 300


@pytest.mark.parametrize(
    "command",
    [
        ("train", LONG),
        ("train", "text.txt", "--recipe", f"{LONG}.toml"),
        ("train", "text.txt", "--name", LONG),
        ("train", "text.txt", "--tokenizer.name", LONG),
        ("train", "~nouser/text.txt"),
        ("train", "text\0.txt"),
        ("plan", "text.txt", "--minutes", "0.1", "--output", LONG),
        ("generate", LONG),
        ("generate", "a\0b"),
        ("generate", "Once upon a time there was a miller who counted his sacks. " * 8),
        ("resume", LONG),
        ("runs", "compare", LONG, "small"),
        ("runs", "compare", "small", "small", "--output", LONG),
        ("data", "inspect", LONG),
        ("data", "inspect", f"{LONG}/*.txt"),
        ("tokenizer", "train", "text.txt", "--output", LONG),
        ("tokenizer", "encode", LONG, "text"),
        ("tokenizer", "compare", "runs/small", "--text", LONG),
        ("eval", "small", LONG),
        ("eval", "small", "--include", LONG),
        ("export", "small", "--to", "gguf", "--output", LONG),
        ("import", LONG),
        ("import", f"{LONG}.pth"),
        ("finetune", "sft", "small", LONG),
        ("finetune", "classify", "small", LONG),
        ("classify", LONG, "text"),
    ],
)
def test_a_name_that_no_file_has(glassgpt: Any, workplace: Path, command: tuple[str, ...]) -> None:
    refused(glassgpt(*command))
    assert [path.name for path in Path("runs").iterdir()] == ["small"]


def limited(limit: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process with a limit of bash's `ulimit`."""
    line = f'ulimit {limit}; exec "$@"'
    return subprocess.run(
        ["bash", "-c", line, "-", sys.executable, "-m", "glassgpt", *command],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_files_that_may_not_grow(workplace: Path) -> None:
    done = limited("-f 10", *TRAIN, "--name", "big")
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert "ulimit -f" in done.stderr


def test_memory_that_does_not_suffice(workplace: Path) -> None:
    wide = [
        "--model.n-embd=8192",
        "--model.n-head=8",
        "--model.n-layer=12",
        "--tokenizer.kind=char",
        "--name",
        "m",
    ]
    done = limited("-v 6000000", "train", "text.txt", *wide)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert "of memory" in done.stderr
    assert "--model.n-embd" in done.stderr
