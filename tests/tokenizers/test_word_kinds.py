"""Characters, words and WordPiece: their vocabularies, and how they handle text outside them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers.char import CharTokenizer
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.patterns import WORD, cut
from glassgpt.tokenizers.word import WordTokenizer, count_words
from glassgpt.tokenizers.wordpiece import WordPieceTokenizer, alphabet

STORY = """The lamp-keeper's daughter counted ships: one, two, three... then forty!
"Don't count the ghosts," said her father (he never laughed). "They aren't real."
But the ghosts were counting her, and they'd got to 12,345 -- or so the gulls said.
The gulls said it again, and again; the daughter counted the gulls. Ça va, naïve lamp?
"""


def test_characters_are_sorted_and_the_rare_ones_go_first() -> None:
    assert CharTokenizer.train(["banana", "cab"]).tokens == ["a", "b", "c", "n", "<|unk|>"]
    assert CharTokenizer.train(["banana", "cab"], vocab_size=5).tokens == ["a", "b", "n", "<|unk|>"]


def test_an_unseen_character_shows_as_unknown() -> None:
    tokenizer = CharTokenizer.train(["abc"])
    assert tokenizer.encode("aéb") == [0, 3, 1]
    assert tokenizer.decode([0, 3, 1]) == "a<|unk|>b"


def test_words_are_ordered_by_count_then_alphabetically() -> None:
    texts = ["the lamp, the ship, the gull", "a lamp"]
    assert WordTokenizer.train(texts).tokens == ["the", ",", "lamp", "a", "gull", "ship", "<|unk|>"]
    assert WordTokenizer.train(texts, min_frequency=2).tokens == ["the", ",", "lamp", "<|unk|>"]
    assert WordTokenizer.train(texts, vocab_size=4).tokens == ["the", ",", "<|unk|>"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop!", ["Don't", "stop", "!"]),
        ("well-known--or so...", ["well-known", "--", "or", "so", "..."]),
        ("naïve (12,345)", ["naïve", "(", "12", ",", "345", ")"]),
        ("<|endoftext|>", ["<", "|", "endoftext", "|", ">"]),
    ],
)
def test_words_and_punctuation_are_cut_apart(text: str, words: list[str]) -> None:
    assert cut(text, WORD) == words


def test_joined_words_have_spaces_where_a_person_puts_them() -> None:
    text = "The keeper (old, tired) said: well... no!"
    tokenizer = WordTokenizer.train([text])
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_pieces_are_the_longest_that_fit() -> None:
    tokenizer = WordPieceTokenizer(["p", "play", "##i", "##ing", "##in", "##g", "##s"])
    tokens = [tokenizer.tokens[id] for id in tokenizer.encode("playing plays p zig playx")]
    assert tokens == ["play", "##ing", "play", "##s", "p", "<|unk|>", "<|unk|>"]
    assert tokenizer.decode(tokenizer.encode("playing plays")) == "playing plays"


def test_a_word_of_more_than_100_characters_is_unknown() -> None:
    tokenizer = WordPieceTokenizer(["a", "##a"])
    assert tokenizer.encode("a" * 100) == [0] + [1] * 99
    assert tokenizer.encode("a" * 101) == [2]
    assert FastTokenizer.from_json(tokenizer.to_json()).encode("a" * 101) == [2]


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cn"])))
def test_any_word_of_seen_letters_can_be_written(text: str) -> None:
    words = cut(text, WORD)
    tokenizer = WordPieceTokenizer(alphabet(words))
    unknown = len(tokenizer.tokens) - 1
    assert unknown not in tokenizer.encode(" ".join(word[::-1] for word in words if len(word) <= 100))


def test_wordpiece_names_the_smallest_possible_size() -> None:
    with pytest.raises(TokenizerError, match="at least 8 ids") as caught:
        WordPieceTokenizer.train(["abc"], vocab_size=7)
    assert "Set it to 8 or more" in str(caught.value)
    assert len(WordPieceTokenizer.train(["abc"], vocab_size=8).tokens) == 7


def rust_wordpiece(texts: list[str], vocab_size: int) -> set[str]:
    """What the Rust trainer learns without its random numbering: all letters are given first."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    letters = alphabet(count_words(texts))
    tokenizer = Tokenizer(models.WordPiece(unk_token="<|unk|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size - 2, special_tokens=letters, show_progress=False, continuing_subword_prefix="##"
    )
    tokenizer.train_from_iterator(texts, trainer)
    return set(tokenizer.get_vocab())


@pytest.mark.parametrize("vocab_size", [110, 160, 250])
def test_pieces_are_those_of_the_rust_trainer(vocab_size: int) -> None:
    ours = WordPieceTokenizer.train([STORY], vocab_size=vocab_size)
    assert set(ours.tokens) - {"<|unk|>"} == rust_wordpiece([STORY], vocab_size)


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text("abc ", min_size=3, max_size=40).filter(str.strip), min_size=1, max_size=5))
def test_pieces_of_any_text_are_those_of_the_rust_trainer(texts: list[str]) -> None:
    ours = WordPieceTokenizer.train(texts, vocab_size=24)
    assert set(ours.tokens) - {"<|unk|>"} == rust_wordpiece(texts, 24)
