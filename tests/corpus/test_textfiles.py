"""Text files arrive character for character, whatever their size, and long ones in well-placed pieces."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.corpus.documents import Document
from glassgpt.corpus.textfiles import BLOCK, SEPARATOR, documents_of, read_text

# Few different characters, so that newlines, spaces and separators meet in every way.
scraps = st.lists(st.sampled_from(["a", "é", " ", "\n", "\r\n", "<|", "endoftext", "|>", SEPARATOR, "tale"]))
plain = scraps.map("".join).filter(lambda text: SEPARATOR not in text)


def in_parts(text: str, size: int):
    return lambda: (text[i : i + size] for i in range(0, len(text), size))


def whole_texts(documents: list[Document]) -> list[str]:
    """Put the pieces of long documents together again."""
    texts, parts = [], []
    for document in documents:
        parts.append(document.text)
        if document.is_last_piece:
            texts.append("".join(parts))
            parts = []
    assert not parts, "the last document has no last piece"
    return texts


@given(text=plain, part=st.integers(1, 9), block=st.integers(1, 12))
def test_text_without_separators_arrives_exactly(text, part, block):
    documents = list(documents_of(in_parts(text, part), name="t", block=block))
    assert "".join(document.text for document in documents) == text
    assert len(whole_texts(documents)) == (text != "")


@given(texts=st.lists(plain, min_size=2), part=st.integers(1, 9), block=st.integers(1, 12))
def test_separated_texts_arrive_without_the_newlines_around(texts, part, block):
    kept = [text.strip("\r\n") for text in texts]
    kept[0] = texts[0].rstrip("\r\n")  # no separator stands before the first
    joined = SEPARATOR.join(texts)
    documents = list(documents_of(in_parts(joined, part), name="t", block=block))
    if all(len(text) - len(text.strip("\r\n")) < 3 * block for text in texts):
        assert whole_texts(documents) == [text for text in kept if text]
    assert whole_texts(documents) == whole_texts(
        list(documents_of(in_parts(joined, 1), name="t", block=block))
    )


@given(texts=st.lists(plain, min_size=1), part=st.integers(1, 9), block=st.integers(1, 12))
def test_pieces_say_which_share_they_are(texts, part, block):
    documents = list(documents_of(in_parts(SEPARATOR.join(texts), part), name="t", block=block))
    for source, pieces in itertools.groupby(documents, key=lambda document: document.source):
        parts = list(pieces)
        length, position = sum(len(piece.text) for piece in parts), 0
        assert parts[0].begins == 0, source
        assert parts[-1].ends == 1, source
        for piece in parts:
            assert round(piece.begins * length) == position
            position += len(piece.text)
            assert round(piece.ends * length) == position
        assert all(len(piece.text) <= block for piece in parts)
        assert len(parts) > 1 or parts[0].is_whole


def test_a_document_of_exactly_a_block_is_not_cut_and_one_longer_is():
    for extra, pieces in ((0, 1), (1, 2)):
        text = "word " * 20 + "x" * extra
        assert len(list(documents_of(in_parts(text, 7), name="t", block=100))) == pieces


def test_cuts_fall_before_line_ends_and_spaces():
    lines = "".join(f"line {n} of the poem\n" for n in range(100))
    *pieces, last = documents_of(in_parts(lines, 64), name="t", block=200)
    assert all(piece.text.endswith("poem") for piece in pieces)
    assert last.text.endswith("\n")
    words = "lamp " * 100
    assert all(
        piece.text.endswith("lamp")
        for piece in list(documents_of(in_parts(words, 64), name="t", block=99))[:-1]
    )


def test_real_texts_arrive_byte_for_byte(shared_data: Path):
    for name in ("tinyshakespeare.txt", "the-verdict.txt"):
        documents = list(read_text(shared_data / name))
        assert "".join(document.text for document in documents).encode() == (shared_data / name).read_bytes()
    assert len(list(read_text(shared_data / "tinystories-sample.txt"))) == 1_051
    assert len(list(read_text(shared_data / "fairytales.txt"))) == 10


def test_sources_number_the_documents_of_a_file(tmp_path: Path):
    path = tmp_path / "tales.txt"
    path.write_text(f"one\n{SEPARATOR}\ntwo\n{SEPARATOR}\n")
    assert [(d.text, d.source) for d in read_text(path)] == [("one", str(path)), ("two", f"{path}#2")]


def test_an_empty_file_has_no_documents(tmp_path: Path):
    (tmp_path / "empty.txt").write_text("")
    assert list(read_text(tmp_path / "empty.txt")) == []


@pytest.mark.parametrize("packed", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, packed: bool):
    path = tmp_path / ("long.txt.gz" if packed else "long.txt")
    size = 0
    with gzip.open(path, "wt", compresslevel=1) if packed else path.open("w") as file:
        for n in range(30):
            size += file.write("".join(f"{n} {m} the lamp was lit again\n" for m in range(30_000)))
    assert size > 25 * BLOCK
    read = 0
    tracemalloc.start()
    for document in read_text(path):
        read += len(document.text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == size
    assert document.is_last_piece
    assert peak < 10 * BLOCK
