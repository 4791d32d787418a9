"""A small real vocabulary, and splits made by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from glassgpt.dataset.shards import TokenSplit
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_tokenizer

TEXTS = [
    "The lamp keeper climbed the stairs and lit the lamp.",
    "At night the ships saw the lamp, and the keeper saw the ships.",
    "One night the lamp went out; the keeper lit it again. Ünïcode — too.",
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def tokenizer() -> FastTokenizer:
    return train_tokenizer(iter(TEXTS), TokenizerConfig(vocab_size=300, min_frequency=1))


@pytest.fixture(scope="session")
def make_split() -> Callable[..., TokenSplit]:
    """Build a split with the ids 0, 1, 2, ... in shards of the given lengths."""

    def make(*lengths: int) -> TokenSplit:
        starts = np.cumsum([0, *lengths])
        ids = np.arange(starts[-1], dtype="<u4")
        shards = tuple(ids[a:b] for a, b in itertools.pairwise(starts))
        return TokenSplit("train", shards, starts, text_bytes=5 * int(starts[-1]), documents=1)

    return make
