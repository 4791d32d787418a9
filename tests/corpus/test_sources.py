"""Sources that the user names are found and read in order; the error for a missing one suggests existing ones."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from glassgpt import files
from glassgpt.corpus.downloads import DOWNLOADS
from glassgpt.corpus.sources import open_sources, read_all
from glassgpt.errors import CorpusError, OfflineError

STORIES = ["The lamp was lit.\nNobody came.", "Zwölf Boote, “ruhig” 🧀", 'a, "b"\tc']
COMPRESS = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.compress}


def content(suffix: str, folder: Path) -> bytes:
    records = [{"id": n, "text": story} for n, story in enumerate(STORIES)]
    match suffix:
        case ".txt" | ".md":
            return "\n<|endoftext|>\n".join(STORIES).encode()
        case ".jsonl":
            return "\n".join(map(json.dumps, records)).encode()
        case ".json":
            return json.dumps({"data": records}).encode()
        case ".csv":
            return ("id,text\n" + "".join('0,"{}"\n'.format(s.replace('"', '""')) for s in STORIES)).encode()
        case _:
            pq.write_table(pa.Table.from_pylist(records), folder / "made")
            data = (folder / "made").read_bytes()
            (folder / "made").unlink()
            return data


def texts(*specs: str, **settings) -> list[str]:
    return [document.text for document in read_all(open_sources(specs, **settings))]


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("suffix", [".txt", ".md", ".jsonl", ".json", ".csv", ".parquet"])
def test_each_format_under_each_compression(tmp_path: Path, suffix: str, compression: str):
    path = tmp_path / f"stories{suffix.upper()}{compression}"
    path.write_bytes(COMPRESS[compression](content(suffix, tmp_path)))
    (source,) = open_sources([str(path)])
    documents = list(source.read())
    assert [document.text for document in documents] == STORIES
    assert all(document.is_whole and document.source.startswith(str(path)) for document in documents)
    assert source.fingerprint == files.hash_file(path)
    assert source.bytes == path.stat().st_size
    assert list(source.read()) == documents  # a source can be read again


def test_folders_come_sorted_without_hidden_files_and_unknown_formats(tmp_path: Path):
    for name in ("b.txt", "a/z.md", "a/c.txt.gz", ".hidden.txt", ".git/x.txt", "picture.png", "c.txt~"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(name.encode()) if name.endswith(".gz") else name.encode())
    assert texts(str(tmp_path)) == ["a/c.txt.gz", "a/z.md", "b.txt"]


def test_mixed_specs_keep_their_order(tmp_path: Path, monkeypatch):
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "rows.jsonl").write_text('{"answer": "two"}')
    monkeypatch.chdir(tmp_path)
    assert texts("rows.jsonl", "*.txt", str(tmp_path / "o[mn]e.txt"), text_field="answer") == [
        "two",
        "one",
        "one",
    ]


def test_globs_reach_into_folders(tmp_path: Path):
    for name in ("a/1.txt", "a/b/2.txt", "a/b/3.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts(f"{tmp_path}/**/*.txt") == ["a/1.txt", "a/b/2.txt"]
    assert texts(f"{tmp_path}/a/*") == ["a/1.txt", "a/b/2.txt", "a/b/3.md"]
    with pytest.raises(CorpusError, match="No file matches"):
        open_sources([f"{tmp_path}/*.csv"])


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path):
    (tmp_path / "what[1]?.txt").write_text("found")
    assert texts(str(tmp_path / "what[1]?.txt")) == ["found"]


def test_an_unknown_suffix_named_explicitly_is_read_as_text(tmp_path: Path):
    (tmp_path / "poem.verse").write_text("The lamp")
    assert texts(str(tmp_path / "poem.verse")) == ["The lamp"]
    (tmp_path / "poem.pdf").write_bytes(b"%PDF-1.7\n\0\0\xff")
    with pytest.raises(CorpusError, match=r"poem\.pdf is not text"):
        texts(str(tmp_path / "poem.pdf"))


def test_a_folder_without_text_is_refused(tmp_path: Path):
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(CorpusError, match=r"holds no text that can be read.*\.txt, \.md, \.jsonl"):
        open_sources([str(tmp_path)])


def test_a_missing_path_names_the_nearest(tmp_path: Path, monkeypatch):
    (tmp_path / "stories.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"Did you mean .*/stories\.txt") as caught:
        open_sources([str(tmp_path / "storys.txt")])
    assert "builtin:tinytales" in str(caught.value)
    monkeypatch.chdir(tmp_path)
    for spec, near in (
        ("storys.txt", "stories.txt"),
        ("tinyshakespear", "tinyshakespeare"),
        ("lantern", "builtin:lantern"),
        ("tinytales", "builtin:tinytales"),
    ):
        with pytest.raises(CorpusError, match=f"Did you mean.* {near}[,?]"):
            open_sources([spec])


def test_a_missing_file_is_not_taken_for_a_corpus(tmp_path: Path, monkeypatch):
    """Once `tales.txt` was answered with "Did you mean builtin:tinytales", although tale.txt was beside it."""
    monkeypatch.chdir(tmp_path)
    for spec in ("tales.txt", "my-story.txt", "shakespeare-plays.txt", "novel", "~", "notes/tinytales.txt"):
        with pytest.raises(CorpusError) as caught:
            open_sources([f"./{spec}" if spec == "~" else spec])
        assert "Did you mean" not in str(caught.value), spec
    Path("tale.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"Did you mean tale\.txt\? "):
        open_sources(["tales.txt"])


@pytest.mark.parametrize("specs", [[], [""], ["   "], ["/nowhere/at/all.txt"]])
def test_nothing_named_or_nothing_there(specs):
    with pytest.raises(CorpusError):
        open_sources(specs)


class TestBuiltins:
    def test_tinytales(self):
        assert len(texts("builtin:tinytales:25")) == 25
        assert (
            texts("builtin:tinytales:9:7") == texts("builtin:tinytales:9:7") != texts("builtin:tinytales:9:8")
        )

    def test_tinytales_fingerprints_tell_count_and_seed(self):
        specs = ["builtin:tinytales", "builtin:tinytales:20000:1", "builtin:tinytales:50"]
        assert len({source.fingerprint for source in open_sources(specs)}) == 3
        default, named = open_sources(["builtin:tinytales", "builtin:tinytales:20_000:0"])
        assert default.fingerprint == named.fingerprint

    def test_lantern(self):
        (source,) = open_sources(["builtin:lantern"])
        (document,) = source.read()
        assert source.fingerprint == files.hash_text(document.text)
        assert source.bytes == len(document.text.encode()) > 1_000

    @pytest.mark.parametrize("spec", ["builtin:tinytales:0", "builtin:tinytales:x", "builtin:tinytales:5:-1"])
    def test_wrong_numbers(self, spec):
        with pytest.raises(CorpusError, match="of the form builtin:tinytales"):
            open_sources([spec])

    @pytest.mark.parametrize(
        "spec", ["builtin:", "builtin:tinytails", "builtin:tinytales:1:2:3", "builtin:lantern:2"]
    )
    def test_unknown_names(self, spec):
        with pytest.raises(CorpusError, match="builtin:tinytales"):
            open_sources([spec])


class TestNamedCorpora:
    def test_the_expected_files_are_those_that_exist(self, shared_data):
        for name, corpus in DOWNLOADS.items():
            path = shared_data / f"{name}.txt"
            assert (corpus.sha256, corpus.bytes) == (files.hash_file(path), path.stat().st_size)

    def test_a_file_put_by_hand_needs_no_network(self, shared_data, isolated_cache):
        (isolated_cache / "downloads").mkdir()
        shutil.copy(shared_data / "the-verdict.txt", isolated_cache / "downloads" / "the-verdict.txt")
        (source,) = open_sources(["the-verdict"])
        (document,) = source.read()
        assert document.text.encode() == (shared_data / "the-verdict.txt").read_bytes()
        assert (document.source, source.name) == ("the-verdict", "the-verdict")

    def test_opening_downloads_nothing_and_reading_says_what_is_missing(self, monkeypatch, isolated_cache):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens there
        (source,) = open_sources(["tinyshakespeare"])
        with pytest.raises(OfflineError, match=r"put it at .*tinyshakespeare\.txt"):
            list(source.read())

    def test_a_local_file_of_that_name_wins(self, tmp_path, monkeypatch):
        (tmp_path / "tinyshakespeare").write_text("my own")
        monkeypatch.chdir(tmp_path)
        assert texts("tinyshakespeare") == ["my own"]

    def test_tinystories_is_the_hub_data_set(self):
        (source,) = open_sources(["tinystories"])
        assert (source.name, source.fingerprint) == ("tinystories", "hf:roneneldan/TinyStories:train#text")


@pytest.mark.parametrize("spec", ["mine", "m*"])
def test_files_of_a_folder_that_are_not_read_are_named(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with most of its files in a format that is not read was once used without a warning."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    (folder / "old").mkdir(parents=True)
    for name in ("a.txt", "b.pdf", "c.text", "old/d.docx", "e.html", "f.tex", ".hidden.pdf"):
        (folder / name).write_text("Words.")
    (source,) = open_sources([spec])
    (note,) = source.notes
    assert note.startswith(
        "Not read in mine because of their suffixes: b.pdf, c.text, e.html, f.tex and 1 more."
    )
    for name in ("b.pdf", "c.text", "old/d.docx", "e.html", "f.tex"):
        (folder / name).unlink()
    (source,) = open_sources([spec])
    assert not source.notes
