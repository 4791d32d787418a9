"""Training as configured: streams, sizes, and errors that say what would work."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from glassgpt import config as settings
from glassgpt.errors import ConfigError, CorpusError, TokenizerError
from glassgpt.tokenizers import merging
from glassgpt.tokenizers.bpe import count_pieces
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.patterns import (
    LONGEST_PIECE,
    PATTERNS,
    Pattern,
    may_have_long_pieces,
    pieces_to_learn,
)
from glassgpt.tokenizers.train import Progress, train_tokenizer

TEXTS = ["the gulls count the ships", "and the ships count the gulls", "", "  "]
KINDS = ["char", "word", "bpe", "wordpiece"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_trained_from_a_stream(kind: str) -> None:
    tokenizer = train_tokenizer(iter(TEXTS), TokenizerConfig(kind=kind))  # type: ignore[arg-type]
    assert tokenizer.kind == kind
    assert tokenizer.decode(tokenizer.encode("the gulls")) == "the gulls"


@pytest.mark.parametrize("pattern", ["gpt2", "llama3", "qwen2"])
def test_both_engines_make_the_same_file(pattern: str) -> None:
    made = [
        train_tokenizer(TEXTS, TokenizerConfig(vocab_size=290, pattern=pattern, engine=engine))  # type: ignore[arg-type]
        for engine in ("rust", "python")
    ]
    assert made[0].json == made[1].json
    assert made[0].pattern is not None
    assert made[0].pattern.name == pattern


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["rust", "python"])
def test_the_size_is_kept(kind: str, engine: str, shared_data: Path) -> None:
    text = (shared_data / "the-verdict.txt").read_text(encoding="utf-8")
    size = {"char": 30, "word": 200, "bpe": 400, "wordpiece": 300}[kind]
    tokenizer = train_tokenizer([text], TokenizerConfig(kind=kind, vocab_size=size, engine=engine))  # type: ignore[arg-type]
    assert tokenizer.vocab_size == size


@pytest.mark.parametrize("kind", ["char", "word"])
def test_zero_means_no_limit(kind: str) -> None:
    texts = [" ".join(f"w{number}" for number in range(5000))] * 2 + [
        "".join(map(chr, range(0x4E00, 0x6000)))
    ]
    tokenizer = train_tokenizer(texts, TokenizerConfig(kind=kind, vocab_size=0))  # type: ignore[arg-type]
    assert tokenizer.vocab_size > 4096


def test_no_character_is_cut_unless_a_limit_is_set() -> None:
    """A text of 6,000 Chinese characters silently lost 1,908 of them: the default of 4,096 ids was meant for bpe."""
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 6000)))
    assert TokenizerConfig(kind="char").vocab_size == 0
    assert TokenizerConfig().vocab_size == TokenizerConfig(kind="word").vocab_size == 4096
    said: list[str] = []
    whole = train_tokenizer([text], TokenizerConfig(kind="char"), say=said.append)
    assert whole.unknown(text) == said == []
    cut = train_tokenizer([text], TokenizerConfig(kind="char", vocab_size=4096), say=said.append)
    assert len(cut.unknown(text)) == 6000 - 4094
    assert said[0].startswith("1,906 of 6,000 characters (31.77%) are not in the vocabulary")


@pytest.mark.parametrize(("kind", "lost"), [("word", "2 of 6 words"), ("wordpiece", "1 of 6 words")])
def test_words_that_are_left_out_are_counted(kind: str, lost: str) -> None:
    said: list[str] = []
    texts = ["gull gull gull gull once", "x" * 101]
    train_tokenizer(texts, TokenizerConfig(kind=kind), say=said.append)  # type: ignore[arg-type]
    assert said[0].startswith(lost)


@pytest.mark.parametrize("pattern", ["gpt2", "llama3", "qwen2"])
def test_both_engines_learn_the_same_from_long_pieces(pattern: str) -> None:
    """One unbroken megabyte took minutes: the time to merge in a piece grows with the square of its length."""
    draw = random.Random(pattern)
    long = [
        "".join(draw.choices(signs, k=2500)) for signs in ("ACGT", "漢字仮名交", " \n\t", "!?\n", "a1 ", "ab")
    ]
    texts = [*long, "the gulls  " + "  ".join(long) + "\n ships's", *TEXTS]
    made = [
        train_tokenizer(texts, TokenizerConfig(vocab_size=400, pattern=pattern, engine=engine))  # type: ignore[arg-type]
        for engine in ("rust", "python", "auto")
    ]
    assert made[0].json == made[1].json == made[2].json
    for text in texts:
        assert made[0].decode(made[0].encode(text)) == text


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=lambda pattern: pattern.name)
def test_no_piece_to_learn_from_is_long(pattern: Pattern) -> None:
    find = regex.compile(pattern.text).findall

    @given(
        texts=st.lists(
            st.tuples(st.sampled_from(["a", "漢", " ", "\n", "7", "'s", "-", "a "]), st.integers(1, 1500))
        )
    )
    def check(texts: list[tuple[str, int]]) -> None:
        text = "".join(sign * times for sign, times in texts)
        pieces = list(pieces_to_learn(text, find))
        assert "".join(pieces) == text
        assert max(map(len, pieces), default=0) <= LONGEST_PIECE
        if not may_have_long_pieces(text):
            assert pieces == find(text)

    check()


def test_the_work_of_merging_grows_with_the_text_and_not_with_its_square() -> None:
    """Measured in searched characters: a text four times as long needs about four times as many."""

    class Word(str):
        searched = 0

        def partition(self, sep: str) -> tuple[str, str, str]:  # type: ignore[override]
            Word.searched += len(self)
            before, found, rest = super().partition(sep)
            return before, found, Word(rest)

    def work(length: int) -> int:
        text = "".join(random.Random(1).choices("ACGT", k=length))
        counts = count_pieces([text], PATTERNS["gpt2"])
        spelled: list[str] = [Word(piece) for piece in counts]
        Word.searched = 0
        totals, places = merging._count_pairs(spelled, list(counts.values()))
        for index in places["AC"]:
            merging._merge_in_word(spelled, index, "AC", "x", 1, totals)
        return Word.searched

    assert work(40_000) < 6 * work(10_000)


def test_training_says_how_far_it_is() -> None:
    for kind, stages in (("bpe", {"characters read", "merges learned"}), ("char", {"characters read"})):
        seen: list[Progress] = []
        train_tokenizer(TEXTS * 3, TokenizerConfig(kind=kind, min_frequency=1), watch=seen.append)  # type: ignore[arg-type]
        assert {news.what for news in seen} == stages
        read = [news.done for news in seen if news.what == "characters read"]
        assert read == sorted(read)
        assert read[-1] == sum(map(len, TEXTS * 3))


@pytest.mark.parametrize(("kind", "smallest"), [("bpe", 257), ("char", 3), ("word", 3), ("wordpiece", 8)])
def test_a_size_that_is_too_small_names_the_smallest(kind: str, smallest: int) -> None:
    with pytest.raises(TokenizerError, match=rf"Set it to {smallest} or more"):
        train_tokenizer(["abc"], TokenizerConfig(kind=kind, vocab_size=smallest - 1))  # type: ignore[arg-type]
    config = TokenizerConfig(kind=kind, vocab_size=smallest, min_frequency=1)  # type: ignore[arg-type]
    assert train_tokenizer(["abc"], config).vocab_size == smallest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], [""], ["", " \n"]])
def test_training_on_nothing_is_refused(kind: str, texts: list[str]) -> None:
    for engine in ("rust", "python"):
        with pytest.raises(TokenizerError, match="no text to train"):
            train_tokenizer(texts, TokenizerConfig(kind=kind, engine=engine))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["rust", "python"])
def test_an_error_of_the_text_is_passed_on(engine: str) -> None:
    def texts() -> Iterator[str]:
        yield "the gulls"
        raise CorpusError("the file ends in the middle")

    with pytest.raises(CorpusError, match="ends in the middle"):
        train_tokenizer(texts(), TokenizerConfig(engine=engine))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_broken_characters_and_special_names_in_the_text_are_only_text(kind: str) -> None:
    texts = ["a \ud83d b <|endoftext|> <|unk|>"] * 2
    tokenizer = train_tokenizer(texts, TokenizerConfig(kind=kind))  # type: ignore[arg-type]
    assert tokenizer.end_of_text not in tokenizer.encode(texts[0])
    assert tokenizer.unknown(texts[0]) == []


def test_a_ready_made_name_replaces_training(tmp_path: Path) -> None:
    trained = train_tokenizer(TEXTS, TokenizerConfig(kind="char"))
    trained.save(tmp_path / "tokenizer.json")
    taken = train_tokenizer(iter(()), TokenizerConfig(name=str(tmp_path)))
    assert taken.fingerprint == trained.fingerprint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "bpee"}, "Did you mean bpe"),
        ({"pattern": "gpt4"}, "gpt2, llama3, qwen2"),
        ({"engine": "c"}, "auto, rust, python"),
        ({"vocab_size": -1}, "0 or more"),
        ({"min_frequency": 0}, "1 or more"),
    ],
)
def test_invalid_settings_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TokenizerConfig(**values)


def test_the_config_goes_through_toml(tmp_path: Path) -> None:
    config = TokenizerConfig(kind="wordpiece", vocab_size=512, min_frequency=1)
    (tmp_path / "config.toml").write_text(settings.to_toml(config))
    assert settings.load(TokenizerConfig, tmp_path / "config.toml") == config
