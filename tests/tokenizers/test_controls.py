"""Special tokens among plain text: found as `tokenizers` finds them, and never made from plain text."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.char import CharTokenizer
from glassgpt.tokenizers.controls import finder, split_at
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.word import WordTokenizer
from tokenizers import Tokenizer

TEXTS = ["the gulls count the ships <a> <|ab|> <|abc|> |> <| , and 12", "The ships.\n\n"]
NAMES = ("<|ab|>", "<|abc|>", "<|", "c|><|ab|>")
# Flags of added tokens in other vocabularies: absorb white space, be a separate word, ...
FLAGS: dict[str, dict[str, Any]] = {
    "ours": {},
    "lstrip": {"lstrip": True},
    "rstrip": {"rstrip": True},
    "single word": {"single_word": True},
    "normalized": {"normalized": True},
}
snippets = st.sampled_from(
    [*NAMES, "<|endoftext|>", "the", " ", "  ", "\n", "<", "|>", "gulls", "AB", "a", "c|"]
)
texts = st.lists(snippets, max_size=12).map("".join)


@cache
def vocabulary(kind: str, flags: str) -> FastTokenizer:
    """A vocabulary with more special tokens, some of which begin the same way, and their flags."""
    scratch = {
        "bpe": BPETokenizer.train(TEXTS, vocab_size=300),
        "char": CharTokenizer.train(TEXTS),
        "word": WordTokenizer.train(TEXTS),
    }["bpe" if kind == "lowercase" else kind]
    content = json.loads(scratch.to_json())
    first = content["added_tokens"][0]
    for number, name in enumerate(NAMES, start=1):
        content["added_tokens"].append(first | {"content": name, "id": first["id"] + number, **FLAGS[flags]})
    if kind == "lowercase":
        content["normalizer"] = {"type": "Lowercase"}
    return FastTokenizer.from_json(json.dumps(content))


@cache
def library(kind: str, flags: str) -> Tokenizer:
    return Tokenizer.from_str(vocabulary(kind, flags).json)


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("kind", ["bpe", "char", "word", "lowercase"])
def test_special_tokens_are_found_as_the_library_finds_them(kind: str, flags: str) -> None:
    """Allowing special tokens once switched from the fast engine to the library, and took eight times as long."""
    ours, theirs = vocabulary(kind, flags), library(kind, flags)

    @settings(max_examples=50)
    @given(text=texts)
    def check(text: str) -> None:
        assert ours.encode(text, allow_special=True) == theirs.encode(text, add_special_tokens=False).ids

    check()


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("kind", ["bpe", "char", "word", "lowercase"])
def test_only_named_pieces_are_special(kind: str, flags: str) -> None:
    ours, theirs = vocabulary(kind, flags), library(kind, flags)

    @settings(max_examples=50)
    @given(
        pieces=st.lists(
            st.tuples(texts, st.none()) | st.tuples(st.sampled_from(NAMES), st.just(1)), max_size=6
        )
    )
    def check(pieces: list[tuple[str, int | None]]) -> None:
        marked = [(text, bool(special)) for text, special in pieces]
        ids = ours.encode_pieces(marked)
        named = [ours._ids[text] for text, special in marked if special]
        assert [id for id in ids if ours.is_special(id)] == named
        written = "".join(text for text, _ in marked)
        found = list(split_at(written, finder([*NAMES, "<|endoftext|>"])))
        if [text for text, special in found if special] == [text for text, special in marked if special]:
            whole = theirs.encode(written, add_special_tokens=False).ids
            if [id for id in whole if ours.is_special(id)] == named and flags != "single word":
                assert ids == whole

    check()


def test_a_name_that_is_not_a_token_is_refused() -> None:
    with pytest.raises(TokenizerError, match="no special token 'the'"):
        vocabulary("bpe", "ours").encode_pieces([("the", True)])


def test_a_long_text_with_special_tokens_stays_in_the_fast_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = vocabulary("bpe", "ours")
    text = "the gulls count <|ab|> the ships " * 5000
    expected = library("bpe", "ours").encode(text, add_special_tokens=False).ids
    monkeypatch.setattr(ours._rust, "encode", None)
    assert ours.encode(text, allow_special=True) == expected
