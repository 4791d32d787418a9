"""What preparing reports about the vocabulary, and which of its settings give other data."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassgpt.corpus.cleaning import CleaningConfig
from glassgpt.errors import DatasetError
from glassgpt.pretraining.data import prepare_data
from glassgpt.runs.config import CorpusConfig, RunConfig
from glassgpt.tokenizers.config import TokenizerConfig


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A text of 900 different characters, each twice."""
    path = tmp_path / "signs.txt"
    signs = "".join(map(chr, range(0x4E00, 0x4E00 + 900)))
    path.write_text("\n\n".join([signs[:450], signs[450:]] * 2), encoding="utf-8")
    return RunConfig(corpus=CorpusConfig(sources=(str(path),)), cleaning=CleaningConfig(mode="off"))


def test_left_out_characters_are_reported_each_time(config: RunConfig) -> None:
    """Nothing was once reported, neither while preparing nor with tokens prepared earlier."""
    said: list[str] = []
    cut = replace(config, tokenizer=TokenizerConfig(kind="char", vocab_size=500))
    for _ in range(2):
        said.clear()
        prepare_data(cut, said.append)
        assert any(" characters (" in line and "are not in the vocabulary" in line for line in said)
    said.clear()
    prepare_data(replace(config, tokenizer=TokenizerConfig(kind="char")), said.append)
    assert not any("not in the vocabulary" in line for line in said)


def test_data_prepared_with_an_old_engine_name_is_found(config: RunConfig) -> None:
    """Older runs name the engine `rust`; auto learns the same merges, so it prepares the same data."""
    rust, auto = (
        prepare_data(replace(config, tokenizer=TokenizerConfig(vocab_size=300, engine=engine)))
        for engine in ("rust", "auto")
    )
    assert rust.shards.folder == auto.shards.folder


def read_all_of(config: RunConfig) -> None:
    split = prepare_data(config).shards.split("train")
    split.read(0, len(split))


@pytest.mark.parametrize(("kind", "id"), [("char", 60_000), ("bpe", 400), ("bpe", 65_535)])
def test_tokens_altered_behind_the_back_are_refused_and_prepared_again(
    tmp_path: Path, isolated_cache: Path, kind: Any, id: int
) -> None:
    """Altered tokens with the same size and time once ended in an IndexError of torch's embedding."""
    (tmp_path / "text.txt").write_text("The miller counts his sacks, and the cat counts the mice.\n\n" * 80)
    config = RunConfig(
        corpus=CorpusConfig(sources=(str(tmp_path / "text.txt"),)),
        tokenizer=TokenizerConfig(kind=kind, vocab_size=300 if kind == "bpe" else None),
    )
    data = prepare_data(config)
    shard = next(data.shards.folder.glob("train-*.bin"))
    then = shard.stat()
    ids = np.fromfile(shard, "<u2")
    original = ids.copy()
    ids[len(ids) // 2] = id
    ids.tofile(shard)
    os.utime(shard, ns=(then.st_atime_ns, then.st_mtime_ns))
    with pytest.raises(DatasetError, match="ids that are not in the vocabulary"):
        read_all_of(config)
    said: list[str] = []
    assert prepare_data(config, said.append).shards.hashes == data.shards.hashes
    assert any("made again" in line for line in said)
    assert (np.fromfile(shard, "<u2") == original).all()
