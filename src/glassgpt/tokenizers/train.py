"""Making a vocabulary from texts, as a configuration says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.char import CharTokenizer
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.load import load_tokenizer
from glassgpt.tokenizers.patterns import PATTERNS, pre_tokenizer
from glassgpt.tokenizers.special import without_surrogates
from glassgpt.tokenizers.word import WordTokenizer
from glassgpt.tokenizers.wordpiece import WordPieceTokenizer

SMALLEST = {"bpe": 257, "char": 3, "word": 3}


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> FastTokenizer:
    """Return the tokenizer that `config` describes, trained on `texts`, or the ready-made one it names.

    The texts are read once, one at a time. What stays in memory is each distinct piece of text and its
    count: a few million for a gigabyte of English. Of a far larger corpus pass a sample. `<|endoftext|>`
    in a text counts as plain text.

    Raises `TokenizerError` when the texts are empty or `vocab_size` is too small, naming the smallest.
    """
    if config.name is not None:
        return load_tokenizer(config.name)
    _refuse_too_small(config)
    return FastTokenizer.from_json(_train(_not_empty(texts), config))


def _train(texts: Iterator[str], config: TokenizerConfig) -> str:
    size, frequency = config.vocab_size, config.min_frequency
    if config.kind == "char":
        return CharTokenizer.train(texts, vocab_size=size).to_json()
    if config.kind == "word":
        return WordTokenizer.train(texts, vocab_size=size, min_frequency=frequency).to_json()
    if config.kind == "wordpiece":
        return WordPieceTokenizer.train(texts, vocab_size=size, min_frequency=frequency).to_json()
    train = BPETokenizer.train if config.engine == "python" else train_bpe_in_rust
    return train(texts, vocab_size=size, pattern=config.pattern, min_frequency=frequency).to_json()


def train_bpe_in_rust(
    texts: Iterable[str], *, vocab_size: int, pattern: str = "gpt2", min_frequency: int = 1
) -> BPETokenizer:
    """Learn by the library `tokenizers` what `BPETokenizer.train` learns, on all processor cores."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    document = {"version": "1.0", "added_tokens": [], "pre_tokenizer": pre_tokenizer(PATTERNS[pattern])}
    empty = json.loads(Tokenizer(models.BPE()).to_str())
    tokenizer = Tokenizer.from_str(json.dumps(empty | document))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,  # <|endoftext|> is not learned
        min_frequency=min_frequency,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    ids = model["vocab"]
    return BPETokenizer([(ids[left], ids[right]) for left, right in model["merges"]], pattern=pattern)


def _refuse_too_small(config: TokenizerConfig) -> None:
    smallest = SMALLEST.get(config.kind, 0)
    unlimited = config.vocab_size == 0 and config.kind in ("char", "word")
    if config.vocab_size < smallest and not unlimited:
        why = (
            "256 bytes and `<|endoftext|>`"
            if config.kind == "bpe"
            else "one token, `<|unk|>` and `<|endoftext|>`"
        )
        raise TokenizerError(
            f"`vocab_size` is {config.vocab_size}, and a {config.kind} vocabulary has at least {smallest} "
            f"ids: {why}. Set it to {smallest} or more."
        )


def _not_empty(texts: Iterable[str]) -> Iterator[str]:
    """Pass texts on as valid Unicode; raise at the end when there was nothing but white space."""
    empty = True
    for text in texts:
        empty = empty and not text.strip()
        yield without_surrogates(text)
    if empty:
        raise TokenizerError("There is no text to train a tokenizer on: every text given is empty.")
