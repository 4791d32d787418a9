"""Texts that are cut and grouped into shares and encoded by several threads get tiktoken's ids."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.tokenizers import engines
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.engines import TiktokenEncoder
from glassgpt.tokenizers.fast import FastTokenizer

TEXTS = [
    "The gulls count the ships,\nand the ships don't count the gulls: 12,345!\n\n",
    "  then\ta lamp // and “another” lamp…\r\n",
]
PATTERNS = ("gpt2", "llama3", "qwen2")
snippets = st.sampled_from(
    [
        *TEXTS,
        "gulls",
        " ",
        "\n",
        "\r\n",
        "\t",
        "  ",
        "the",
        ",",
        "'s",
        "7",
        "é",
        "漢字",
        "\x1c",
        "<|between texts|>",
    ]
)
texts = st.lists(snippets, max_size=60).map("".join)


@cache
def fast(pattern: str) -> FastTokenizer:
    return FastTokenizer.from_json(BPETokenizer.train(TEXTS, vocab_size=330, pattern=pattern).to_json())


def peer(tokenizer: FastTokenizer) -> tiktoken.Encoding:
    """Tiktoken on the same vocabulary, made here."""
    ours = tokenizer._encoder
    assert isinstance(ours, TiktokenEncoder)
    ranks = {tokenizer.token_bytes(id): id for id in range(tokenizer.vocab_size - 1)}
    pattern = tokenizer.pattern
    assert pattern is not None
    return tiktoken.Encoding("peer", pat_str=pattern.text, mergeable_ranks=ranks, special_tokens={})


@pytest.fixture(params=[1, 2, 4])
def small_shares(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make texts of a few lines take every path that long texts take."""
    monkeypatch.setattr(engines, "_SHARE", 40)
    for pattern in PATTERNS:
        monkeypatch.setattr(fast(pattern)._encoder, "threads", request.param)


@pytest.mark.usefixtures("small_shares")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_ids_are_those_of_tiktoken(pattern: str) -> None:
    tokenizer = fast(pattern)
    theirs = peer(tokenizer)

    @given(batch=st.lists(texts, max_size=6))
    def check(batch: list[str]) -> None:
        expected = theirs.encode_ordinary_batch(batch)
        assert tokenizer.encode_batch(batch) == expected
        assert [ids.tolist() for ids in tokenizer.encode_arrays(batch)] == expected
        assert [tokenizer.encode(text) for text in batch] == expected

    check()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_real_text_has_the_ids_of_tiktoken(shared_data: Path, pattern: str) -> None:
    tokenizer = fast(pattern)
    for name in ("fairytales.txt", "tinystories-sample.txt"):
        text = (shared_data / name).read_text(encoding="utf-8")[:600_000]
        assert tokenizer.encode(text) == peer(tokenizer).encode_ordinary(text)


def test_arrays_are_of_the_smallest_type_that_holds_the_ids() -> None:
    assert fast("gpt2").encode_arrays(TEXTS)[0].dtype == np.uint16
    assert fast("gpt2").encode_arrays([]) == []


def test_arrays_of_other_kinds_are_their_lists() -> None:
    from glassgpt.tokenizers.char import CharTokenizer
    from glassgpt.tokenizers.word import WordTokenizer

    for scratch in (CharTokenizer.train(TEXTS), WordTokenizer.train(TEXTS)):
        tokenizer = FastTokenizer.from_json(scratch.to_json())
        assert [ids.tolist() for ids in tokenizer.encode_arrays(TEXTS)] == tokenizer.encode_batch(TEXTS)
