"""Shards are read across their borders, and refused when they do not match their manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.corpus.documents import Document
from glassgpt.dataset.prepare import prepare
from glassgpt.dataset.shards import TokenShards, TokenSplit, open_shards, token_dtype
from glassgpt.errors import DatasetError
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_tokenizer


@pytest.fixture
def shards(tmp_path: Path, tokenizer: FastTokenizer, texts: list[str]) -> TokenShards:
    documents = [("train", Document(text, "here")) for text in texts]
    return prepare(documents, tokenizer, tmp_path / "prepared", plan="a plan")


def test_the_smallest_type_that_holds_every_id():
    assert token_dtype(2) == token_dtype(65_536) == np.dtype("<u2")
    assert np.iinfo(token_dtype(65_536)).max == 65_535  # the last id of that many
    assert token_dtype(65_537) == np.dtype("<u4")


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.data())
def test_reading_crosses_shard_borders(
    make_split: Callable[..., TokenSplit], lengths: list[int], data: st.DataObject
):
    split = make_split(*lengths)
    if not len(split):
        return
    start = data.draw(st.integers(0, len(split) - 1))
    length = data.draw(st.integers(1, len(split) - start))
    ids = split.read(start, length)
    assert ids.dtype == np.int64
    assert ids.tolist() == list(range(start, start + length))


def test_reading_past_the_end_is_a_bug_not_a_short_row(make_split: Callable[..., TokenSplit]):
    for start, length in ((3, 5), (8, 1), (-1, 2)):
        with pytest.raises(AssertionError):
            make_split(4, 3).read(start, length)


def test_bytes_per_token_of_a_split(make_split: Callable[..., TokenSplit]):
    assert make_split(4, 3).bytes_per_token == 5.0
    assert TokenSplit("test", (), np.array([0]), 0, 0).bytes_per_token == 0.0


def test_a_folder_is_opened_for_its_own_tokenizer_only(
    shards: TokenShards, tokenizer: FastTokenizer, texts: list[str]
):
    assert open_shards(shards.folder, fingerprint=tokenizer.fingerprint).vocab_size == tokenizer.vocab_size
    other = train_tokenizer(iter(texts), TokenizerConfig(vocab_size=280))
    with pytest.raises(DatasetError, match="another tokenizer") as caught:
        open_shards(shards.folder, fingerprint=other.fingerprint)
    assert shards.fingerprint[:12] in str(caught.value)
    assert other.fingerprint[:12] in str(caught.value)


def test_the_tokenizer_is_saved_beside_the_ids(shards: TokenShards, tokenizer: FastTokenizer):
    beside = FastTokenizer.from_file(shards.folder / "tokenizer.json")
    assert beside.fingerprint == tokenizer.fingerprint == shards.fingerprint


def test_a_truncated_shard_is_refused(shards: TokenShards):
    path = shards.folder / "train-00000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DatasetError, match=r"train-00000\.bin has .* bytes instead of .*rm -r "):
        open_shards(shards.folder)
    with pytest.raises(DatasetError, match="cut short"):
        shards.split("train")


def test_a_missing_shard_is_refused(shards: TokenShards):
    (shards.folder / "train-00000.bin").unlink()
    with pytest.raises(DatasetError, match=r"train-00000\.bin is missing"):
        open_shards(shards.folder)
    with pytest.raises(DatasetError, match="missing"):
        shards.split("train")


def test_an_unfinished_folder_is_refused(shards: TokenShards, tmp_path: Path):
    (shards.folder / "manifest.json").unlink()
    for folder in (shards.folder, tmp_path / "nowhere"):
        with pytest.raises(DatasetError, match="never finished"):
            open_shards(folder)


def test_a_split_without_documents_is_empty(shards: TokenShards):
    assert [len(shards.split(name)) for name in ("validation", "test")] == [0, 0]


def test_the_manifest_counts(shards: TokenShards, tokenizer: FastTokenizer, texts: list[str]):
    facts = json.loads((shards.folder / "manifest.json").read_text())["splits"]["train"]
    ids = [tokenizer.encode(text) for text in texts]
    assert facts["tokens"] == sum(map(len, ids)) + len(texts) == len(shards.split("train"))
    assert facts["bytes"] == sum(len(text.encode()) for text in texts)
    assert facts["documents"] == len(texts)


def test_mapping_a_split_costs_few_file_descriptors(tmp_path: Path, tokenizer: FastTokenizer):
    """A file for each group of documents made a corpus of 2 GB run into the usual limit of 1,024 open files."""
    documents = [("train", Document(f"Story {number}. " * 4, "here")) for number in range(60)]
    shards = prepare(documents, tokenizer, tmp_path / "p", plan="p", group_characters=50)
    assert len(shards.split("train").shards) == 1
    assert sorted(path.name for path in shards.folder.glob("*.bin")) == ["train-00000.bin"]
