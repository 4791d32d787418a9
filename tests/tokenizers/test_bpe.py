"""Byte-level BPE from scratch against the Rust trainer, tiktoken, and merges computed by hand."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.byte_chars import BYTE_OF_CHAR, BYTE_ORDER, to_bytes, to_chars
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.merging import Pair, learn_merges
from glassgpt.tokenizers.train import train_bpe_in_rust

# Code points that Python knows: letters newer than its Unicode are cut differently by `regex`.
characters = st.characters(exclude_categories=["Cs", "Cn"])
any_text = st.text(characters, max_size=60)
few_letters = st.lists(st.text("ab ", min_size=1, max_size=30), min_size=1, max_size=8)


def merged_tokens(tokenizer: BPETokenizer) -> list[bytes]:
    return tokenizer.tokens[256:]


def naive_merges(words: dict[tuple[int, ...], int], *, first_id: int, most: int) -> list[Pair]:
    """The textbook algorithm: count all pairs again, join the best everywhere, repeat."""
    lists = {word: list(word) for word in words}
    merges: list[Pair] = []
    while len(merges) < most:
        totals: Counter[Pair] = Counter()
        for word, symbols in lists.items():
            for pair in pairwise(symbols):
                totals[pair] += words[word]
        if not totals:
            break
        best = min(totals, key=lambda pair: (-totals[pair], pair))
        for symbols in lists.values():
            at = 0
            while at < len(symbols) - 1:
                if (symbols[at], symbols[at + 1]) == best:
                    symbols[at : at + 2] = [first_id + len(merges)]
                at += 1
        merges.append(best)
    return merges


@given(
    words=st.dictionaries(
        st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), st.integers(1, 5), max_size=6
    ),
    most=st.integers(0, 30),
)
def test_incremental_counting_equals_full_counting(words: dict[tuple[int, ...], int], most: int) -> None:
    assert learn_merges(words, first_id=3, most=most) == naive_merges(words, first_id=3, most=most)


def test_merges_worked_out_by_hand() -> None:
    """low 5, lower 2, newest 6, widest 3: the example of Sennrich et al. 2016, without their end of word."""
    text = "\n".join(["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3)
    tokenizer = BPETokenizer.train([text], vocab_size=257 + 6)
    # es and st occur 9 times each; "e" has the smaller id. Ids of lo and low follow; (n, e), (e, w) and
    # (w, est) tie at 6: e is the smallest. Then (n, ew) comes before (ew, est).
    assert merged_tokens(tokenizer) == [b"es", b"est", b"lo", b"low", b"ew", b"new"]


def test_special_ids_and_bytes_are_laid_out_as_in_gpt2() -> None:
    tokenizer = BPETokenizer.train(["aa aa"], vocab_size=258)
    assert tokenizer.encode("!aa~") == [0, 256, ord("~") - ord("!")]
    assert tokenizer.special == {"<|endoftext|>": 257}
    assert sorted(BYTE_ORDER) == list(range(256))
    assert to_chars(b" a\n") == "ĠaĊ"


@given(st.binary())
def test_each_byte_has_one_visible_character(data: bytes) -> None:
    assert to_bytes(to_chars(data)) == data
    assert all(char.isprintable() and char != " " for char in BYTE_OF_CHAR)


@pytest.mark.parametrize("pattern", ["gpt2", "llama3", "qwen2"])
@pytest.mark.parametrize("vocab_size", [257, 300, 1200])
def test_real_text_gives_the_merges_of_the_rust_trainer(
    shared_data: Path, pattern: str, vocab_size: int
) -> None:
    texts = (shared_data / "the-verdict.txt").read_text(encoding="utf-8").split("\n\n")
    ours = BPETokenizer.train(texts, vocab_size=vocab_size, pattern=pattern, min_frequency=2)
    theirs = train_bpe_in_rust(texts, vocab_size=vocab_size, pattern=pattern, min_frequency=2)
    assert ours.merges == theirs.merges
    assert ours.to_json() == theirs.to_json()
    assert len(ours.tokens) + 1 == vocab_size


@pytest.mark.parametrize(
    ("name", "vocab_size"), [("tinyshakespeare.txt", 2048), ("tinystories-sample.txt", 8192)]
)
def test_large_text_gives_the_merges_of_the_rust_trainer(
    shared_data: Path, name: str, vocab_size: int
) -> None:
    texts = (shared_data / name).read_text(encoding="utf-8").splitlines(keepends=True)
    ours = BPETokenizer.train(texts, vocab_size=vocab_size)
    assert ours.merges == train_bpe_in_rust(texts, vocab_size=vocab_size).merges


@settings(max_examples=60, deadline=None)
@given(texts=few_letters | st.lists(any_text, min_size=1, max_size=5), min_frequency=st.integers(1, 3))
def test_any_text_gives_the_merges_of_the_rust_trainer(texts: list[str], min_frequency: int) -> None:
    for pattern in ("gpt2", "llama3", "qwen2"):
        ours = BPETokenizer.train(texts, vocab_size=300, pattern=pattern, min_frequency=min_frequency)
        theirs = train_bpe_in_rust(texts, vocab_size=300, pattern=pattern, min_frequency=min_frequency)
        assert ours.merges == theirs.merges


@settings(max_examples=60, deadline=None)
@given(texts=few_letters, data=st.data())
def test_runs_of_one_letter_give_the_same_ids_in_every_engine(texts: list[str], data: st.DataObject) -> None:
    """Runs such as "aaaaa" can be cut in many ways: the engines must choose the same one."""
    scratch = BPETokenizer.train(texts, vocab_size=300)
    fast = FastTokenizer.from_json(scratch.to_json())
    text = data.draw(st.text("ab ", max_size=60))
    assert fast.encode(text) == scratch.encode(text) == fast._rust.encode(text)


def test_the_order_of_texts_changes_nothing() -> None:
    texts = ["the gulls count", "the ghosts count the gulls", "then the lamp counts"]
    forwards = BPETokenizer.train(texts, vocab_size=300)
    assert BPETokenizer.train(reversed(texts), vocab_size=300).merges == forwards.merges
