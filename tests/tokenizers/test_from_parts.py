"""A tokenizer from a vocabulary, merges and special tokens, against the readable one and against tiktoken."""

from __future__ import annotations

import io
import itertools
import random
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.from_parts import bpe_from_parts

TEXT = (
    "The old dog sleeps. The old dog's dream: 42 bones, twenty more, and a garden gate.\n\n  Then it rains. "
    * 20
)
BYTES = {id: bytes([id]) for id in range(256)}
READABLE = BPETokenizer.train([TEXT], vocab_size=320)
MERGES = [(READABLE.tokens[left], READABLE.tokens[right]) for left, right in READABLE.merges]
texts = st.text() | st.lists(
    st.sampled_from(["The", " old", "dog", "<|endoftext|>", "<|pad|>", "\n", " ", "é", "😀"])
).map("".join)


@pytest.fixture(scope="module")
def order() -> list[int]:
    """A number for each token, in no order that a tokenizer would have by itself."""
    numbers = list(range(len(READABLE.tokens)))
    random.Random(0).shuffle(numbers)
    return numbers


@given(text=texts)
def test_ids_are_those_of_the_readable_one_under_other_numbers(order: list[int], text: str) -> None:
    tokenizer = bpe_from_parts(dict(zip(order, READABLE.tokens, strict=True)), MERGES)
    ids = tokenizer.encode(text)
    assert ids == [order[id] for id in READABLE.encode(text)]
    assert tokenizer.decode(ids) == text


@given(text=texts, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_an_iterable_gives_the_ids_of_the_whole_text(text: str, cuts: list[int]) -> None:
    tokenizer = bpe_from_parts(dict(enumerate(READABLE.tokens)), MERGES, ["<|pad|>"])
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)]
    for allow in (False, True):
        whole = tokenizer.encode(text, allow_special=allow)
        assert list(tokenizer.encode_iterable(iter(pieces), allow_special=allow)) == whole


def test_an_open_file_is_an_iterable() -> None:
    tokenizer = bpe_from_parts(dict(enumerate(READABLE.tokens)), MERGES)
    assert list(tokenizer.encode_iterable(io.StringIO(TEXT))) == tokenizer.encode(TEXT)


def test_special_tokens_keep_their_ids_or_get_the_next_free_ones() -> None:
    tokenizer = bpe_from_parts({**BYTES, 300: b"<|endoftext|>"}, [], ["<|pad|>", "<|endoftext|>"])
    assert tokenizer.encode("<|pad|>a<|endoftext|>", allow_special=True) == [301, ord("a"), 300]
    assert tokenizer.end_of_text == 300
    assert len(tokenizer.encode("<|pad|>")) == len("<|pad|>"), "a name in plain text is text"


@pytest.mark.slow
def test_gpt2_from_its_parts_is_gpt2(tiktoken_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tiktoken_cache))
    reference = tiktoken.get_encoding("gpt2")
    vocabulary = {rank: token for token, rank in reference._mergeable_ranks.items()}
    ranks = reference._mergeable_ranks
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) > 1:  # its parts are what the earlier merges leave of it
            merges.append(_parts_of(token, ranks))
    tokenizer = bpe_from_parts(vocabulary, merges)
    assert tokenizer.end_of_text == reference.eot_token
    for text in (TEXT, "naïve café 😀 don't  stop\t\n", "x" * 50):
        assert tokenizer.encode(text) == reference.encode(text)


def _parts_of(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in itertools.pairwise(parts)]
        at = min(range(len(pairs)), key=pairs.__getitem__)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


@pytest.mark.parametrize(
    ("vocabulary", "merges", "says"),
    [
        ({id: bytes([id]) for id in range(255)}, [], r"no id for the byte b'\\xff'"),
        ({**BYTES, 256: b"a"}, [], "Two ids of the vocabulary have the same bytes: b'a'"),
        (BYTES, [(b"a", b"b")], "Merge 0 needs the token b'ab'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(vocabulary: dict, merges: list, says: str) -> None:
    with pytest.raises(TokenizerError, match=says):
        bpe_from_parts(vocabulary, merges)


def test_an_unknown_pattern_names_the_known_ones() -> None:
    with pytest.raises(TokenizerError, match="Did you mean gpt2"):
        bpe_from_parts(BYTES, [], pattern="gtp2")
