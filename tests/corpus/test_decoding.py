"""Bytes become text exactly, or an error that names the file, the place and the way out."""

from __future__ import annotations

import codecs
import gzip
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.corpus.decoding import CHUNK, text_blocks, text_lines
from glassgpt.corpus.sources import open_sources
from glassgpt.errors import CorpusError

MARKED = {
    "utf-8-sig": "utf-8-sig",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
# Without NUL, which marks a binary file, and without U+FEFF, which would be read as a byte order mark.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"))


def read(path: Path) -> str:
    return "".join(text_blocks(path))


@given(text=texts, repeat=st.sampled_from([1, 40_000]))
def test_utf8_arrives_byte_for_byte(tmp_path_factory, text, repeat):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes((text * repeat).encode())
    assert read(path) == text * repeat
    assert "".join(text_lines(path)) == text * repeat


@pytest.mark.parametrize("encoding", MARKED)
def test_marked_encodings_are_read_and_the_mark_is_dropped(tmp_path: Path, encoding: str):
    text = "Zwölf Käse 🧀 für 3 €\r\n" * 9_000  # longer than a chunk, with characters across its edge
    mark = MARKED[encoding]
    path = tmp_path / "marked.txt"
    path.write_bytes(text.encode(encoding) if isinstance(mark, str) else mark + text.encode(encoding))
    assert read(path) == text


def test_latin1_is_not_guessed_but_located(tmp_path: Path):
    path = tmp_path / "old.txt"
    path.write_bytes(b"a" * (CHUNK - 1) + "é".encode() + b"bb" + "café".encode("latin-1") + b" au lait")
    with pytest.raises(CorpusError) as caught:
        read(path)
    assert f"old.txt is not valid UTF-8: byte 0xE9 at position {CHUNK + 1 + 2 + 3}" in str(caught.value)
    assert "iconv -f WINDOWS-1252 -t UTF-8" in str(caught.value)


@pytest.mark.parametrize("name", ["old.txt", "it's old.txt.gz"])
def test_the_line_that_converts_can_be_pasted(tmp_path: Path, monkeypatch, name: str):
    """The command once left out the folder, so that it found no file, and a quotation mark broke it."""
    folder = tmp_path / "my $texts"
    folder.mkdir()
    content = "Ein Käse für Anaïs".encode("cp1252")
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError) as caught:
        read(Path("my $texts") / name)
    line = str(caught.value).split("Windows-1252:  ")[1]
    subprocess.run(line, shell=True, check=True, cwd="/")
    assert read(folder / f"{name.partition('.')[0]}.utf8.txt") == "Ein Käse für Anaïs"


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path):
    """It was once called a damaged file, and the message did not say how to get the real one."""
    for name in ("a.txt", "a.jsonl.gz", "a.parquet", "a.csv.zst"):
        path = tmp_path / name
        path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n")
        with pytest.raises(CorpusError, match=r"only a Git LFS pointer.*cd .* && git lfs pull"):
            open_sources([str(path)])


def test_a_character_cut_off_at_the_end_is_located(tmp_path: Path):
    path = tmp_path / "cut.txt"
    path.write_bytes("ab€".encode()[:-1])
    with pytest.raises(CorpusError, match="position 2"):
        read(path)


@pytest.mark.parametrize("content", [b"GIF89a\0\0\1", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"text\0text"])
def test_binary_files_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "picture.txt"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"picture\.txt is not text"):
        read(path)


def packed_with(kind: str, content: bytes) -> bytes:
    return gzip.compress(content) if kind == ".gz" else zstandard.compress(content)


@pytest.mark.parametrize("kind", [".gz", ".zst"])
def test_compressed_files_are_unpacked_all_frames(tmp_path: Path, kind: str):
    path = tmp_path / f"t.txt{kind}"
    path.write_bytes(packed_with(kind, b"first\n" * 99_999) + packed_with(kind, b"second"))
    assert read(path) == "first\n" * 99_999 + "second"


@pytest.mark.parametrize("kind", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "half", "other"])
def test_damaged_compressed_files_are_refused(tmp_path: Path, kind: str, damage: str):
    """The zstandard library's reader ends without an error where a file was cut short: half a corpus is lost."""
    content = packed_with(kind, "".join(f"{n * n} lamps\n" for n in range(50_000)).encode())
    path = tmp_path / f"t.txt{kind}"
    path.write_bytes({"cut": content[:-3], "half": content[: len(content) // 2], "other": b"hello"}[damage])
    with pytest.raises(CorpusError, match=r"cannot be unpacked"):
        read(path)


def test_lines_keep_their_ends_and_may_be_longer_than_a_chunk(tmp_path: Path):
    lines = [
        "a" * (2 * CHUNK + 5) + "\n",
        "\n",
        "b\r\n",
        "c\r",
        "\r",
        "\u2028\x0c\n",
        "d" * CHUNK + "\r\n",
        "\r",
        "end",
    ]
    path = tmp_path / "lines.txt"
    path.write_bytes("".join(lines).encode())
    assert list(text_lines(path)) == lines
    with pytest.raises(CorpusError, match=r"lines.txt:1 has more than 1,000 characters"):
        list(text_lines(path, longest=1_000))


def test_a_directory_cannot_be_read(tmp_path: Path):
    with pytest.raises(CorpusError, match="cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
@pytest.mark.parametrize(
    "text", ["The miller counts.\n" * 9, "Größe und Güte.\n" * 400, "磨坊主 数着 麻袋。\n" * 9]
)
def test_wide_text_without_a_mark_is_recognised(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "wide one.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(CorpusError, match=rf"looks like {encoding} without.*iconv -f {encoding}") as caught:
        list(text_blocks(path))
    command = str(caught.value).rpartition("first:  ")[2]
    subprocess.run(command, shell=True, check=True)
    assert (tmp_path / "wide one.utf8.txt").read_text(encoding="utf-8") == text


def test_a_program_is_not_taken_for_wide_text(tmp_path: Path) -> None:
    for content in (bytes(range(256)) * 20, b"\0" * 500, Path(sys.executable).resolve().read_bytes()[:9000]):
        (tmp_path / "program.txt").write_bytes(content)
        with pytest.raises(CorpusError, match="is not text: it holds NUL bytes"):
            list(text_blocks(tmp_path / "program.txt"))
