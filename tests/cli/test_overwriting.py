"""No command overwrites what it reads, and other files only with --force."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.quick import quick

QUICK = ("--minutes", "0.1")
WAYS = {
    "tokenizer": (("tokenizer", "train", "text.txt", "--vocab-size", "300"), "--output"),
    "compare": (("runs", "compare", "small", "small"), "--output"),
    "plan": (("plan", "text.txt", *QUICK), "--output"),
    "eval": (("eval", "small", "--tasks", "induction"), "--json"),
    "gguf": (("export", "small", "--to", "gguf"), "--output"),
    "onnx": (("export", "small", "--to", "onnx"), "--output"),
}


@pytest.mark.parametrize("way", quick(WAYS, *({*WAYS} - {"onnx"})))
def test_a_file_that_is_there_is_kept_without_force(glassgpt: Any, workplace: Path, way: str) -> None:
    """`runs compare a b --output book.txt` once replaced the book by a picture."""
    command, option = WAYS[way]
    Path("book.txt").write_text("A book.")
    result = glassgpt(*command, option, "book.txt")
    assert result.status == 1
    assert "book.txt exists already" in result.errors
    assert "--force" in result.errors
    assert Path("book.txt").read_text() == "A book."
    assert glassgpt(*command, option, "book.txt", "--force").status == 0
    assert Path("book.txt").read_bytes() != b"A book."


@pytest.mark.parametrize(
    ("way", "read"),
    [
        ("tokenizer", "text.txt"),
        ("plan", "text.txt"),
        ("compare", "runs/small/metrics.jsonl"),
        ("eval", "runs/small/config.toml"),
        ("gguf", "runs/small/model.safetensors"),
        ("onnx", "runs/small/tokenizer.json"),
    ],
)
@pytest.mark.parametrize("link", [False, True])
def test_what_is_read_is_kept_even_with_force(
    glassgpt: Any, workplace: Path, way: str, read: str, link: bool
) -> None:
    command, option = WAYS[way]
    before = Path(read).read_bytes()
    out = read
    if link and "runs" not in read:
        os.link(read, "hard-link")
        out = "hard-link"
    elif link:
        Path("runs-again").symlink_to("runs")
        out = read.replace("runs/", "runs-again/")
    result = glassgpt(*command, option, out, "--force")
    assert result.status == 1
    assert "one of the files that this command reads" in result.errors
    assert Path(read).read_bytes() == before


def test_comparing_again_is_painless(glassgpt: Any, workplace: Path) -> None:
    for _ in range(2):
        assert glassgpt("runs", "compare", "small", "small").status == 0
    assert Path("compare.png").read_bytes().startswith(b"\x89PNG")
    result = glassgpt("runs", "compare", "small", "small", "--output", "runs/small/loss.png")
    assert result.status == 1


def test_the_tokenizer_of_a_run_is_kept(glassgpt: Any, workplace: Path) -> None:
    before = Path("runs/small/tokenizer.json").read_bytes()
    result = glassgpt("tokenizer", "train", "text.txt", "--output", "runs/small")
    assert result.status == 1
    assert Path("runs/small/tokenizer.json").read_bytes() == before


def test_the_weights_beside_a_graph_are_kept(glassgpt: Any, workplace: Path) -> None:
    Path("mine.onnx.data").write_text("weights of another graph")
    result = glassgpt("export", "small", "--to", "onnx", "--output", "mine.onnx")
    assert result.status == 1
    assert "mine.onnx.data exists already" in result.errors
    assert Path("mine.onnx.data").read_text() == "weights of another graph"
    assert not Path("mine.onnx").exists()
    assert glassgpt("export", "small", "--to", "onnx", "--output", "mine.onnx", "--force").status == 0
    assert Path("mine.onnx").exists()


def test_an_earlier_export_is_replaced_with_force(glassgpt: Any, workplace: Path) -> None:
    assert glassgpt("export", "small").status == 0
    Path("small-hf/config.json").write_text("{}")
    refused = glassgpt("export", "small")
    assert refused.status == 1
    assert "small-hf exists already. Choose another --output, or add --force" in refused.errors
    assert glassgpt("export", "small", "--force").status == 0
    assert len(Path("small-hf/config.json").read_text()) > 2
    assert sorted(path.name for path in workplace.iterdir()) == ["runs", "small-hf", "text.txt"]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("runs", "other files than those of an export, such as small"),
        ("mixed", "other files than those of an export, such as novel.txt"),
        ("text.txt", "is not a folder, and --to hf writes one"),
        ("runs/small", "other files than those of an export"),
    ],
)
def test_a_folder_of_anything_else_is_kept_even_with_force(
    glassgpt: Any, workplace: Path, place: str, says: str
) -> None:
    """Overwriting a folder removes it, even one that contains a novel or all runs."""
    assert glassgpt("export", "small", "--output", "mixed").status == 0
    Path("mixed/novel.txt").write_text("Chapter 1")
    before = sorted(workplace.rglob("*"))
    result = glassgpt("export", "small", "--output", place, "--force")
    assert result.status == 1
    assert says in result.errors
    assert sorted(workplace.rglob("*")) == before


def test_a_folder_is_no_place_for_a_file_even_with_force(glassgpt: Any, workplace: Path) -> None:
    result = glassgpt("export", "small", "--to", "gguf", "--output", "runs", "--force")
    assert result.status == 1
    assert "runs is a folder. Name a file in it with --output" in result.errors


@pytest.mark.parametrize("to", quick(["hf", "gguf", "onnx"], "hf", "gguf"))
def test_an_export_that_fails_leaves_the_earlier_one(
    glassgpt: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    from glassgpt.errors import InteropError
    from glassgpt.interop import exports

    def fails(*_: object) -> None:
        raise InteropError("The exported file is wrong.")

    assert glassgpt("export", "small", "--to", to, "--output", "mine").status == 0
    before = {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()}
    monkeypatch.setattr(exports, "_check", fails)
    assert glassgpt("export", "small", "--to", to, "--output", "mine", "--force").status == 1
    assert {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()} == before
