"""Training as configured: streams, sizes, and errors that say what would do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from glassgpt import config as settings
from glassgpt.errors import ConfigError, CorpusError, TokenizerError
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.train import train_tokenizer

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


@pytest.mark.parametrize(("kind", "smallest"), [("bpe", 257), ("char", 3), ("word", 3), ("wordpiece", 8)])
def test_a_size_that_is_too_small_is_answered_by_the_smallest(kind: str, smallest: int) -> None:
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


def test_a_name_is_taken_instead_of_training(tmp_path: Path) -> None:
    trained = train_tokenizer(TEXTS, TokenizerConfig(kind="char"))
    trained.save(tmp_path / "tokenizer.json")
    taken = train_tokenizer(iter(()), TokenizerConfig(name=str(tmp_path)))
    assert taken.fingerprint == trained.fingerprint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "bpee"}, "Did you mean bpe"),
        ({"pattern": "gpt4"}, "gpt2, llama3, qwen2"),
        ({"engine": "c"}, "rust, python"),
        ({"vocab_size": -1}, "0 or more"),
        ({"min_frequency": 0}, "1 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TokenizerConfig(**values)


def test_the_config_goes_through_toml(tmp_path: Path) -> None:
    config = TokenizerConfig(kind="wordpiece", vocab_size=512, min_frequency=1)
    (tmp_path / "config.toml").write_text(settings.to_toml(config))
    assert settings.load(TokenizerConfig, tmp_path / "config.toml") == config
