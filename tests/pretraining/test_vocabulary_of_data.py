"""What preparing says of the vocabulary, and which of its settings make other data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from glassgpt.corpus.cleaning import CleaningConfig
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


def test_characters_that_are_left_out_are_said_each_time(config: RunConfig) -> None:
    """Nothing was said, and the prepared tokens of an earlier run would have been silent, too."""
    said: list[str] = []
    cut = replace(config, tokenizer=TokenizerConfig(kind="char", vocab_size=500))
    for _ in range(2):
        said.clear()
        prepare_data(cut, said.append)
        assert any(" characters (" in line and "are not in the vocabulary" in line for line in said)
    said.clear()
    prepare_data(replace(config, tokenizer=TokenizerConfig(kind="char")), said.append)
    assert not any("not in the vocabulary" in line for line in said)


def test_data_prepared_by_an_engine_of_before_is_found_again(config: RunConfig) -> None:
    """Runs of before name the engine `rust`; auto learns the same merges, so it prepares the same data."""
    rust, auto = (
        prepare_data(replace(config, tokenizer=TokenizerConfig(vocab_size=300, engine=engine)))
        for engine in ("rust", "auto")
    )
    assert rust.shards.folder == auto.shards.folder
