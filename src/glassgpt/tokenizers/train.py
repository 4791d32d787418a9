"""Making a vocabulary from texts, according to a config."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import regex

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.char import CharTokenizer, count_chars
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.load import load_tokenizer
from glassgpt.tokenizers.patterns import (
    PATTERNS,
    Pattern,
    may_have_long_pieces,
    pieces_to_learn,
    pre_tokenizer,
)
from glassgpt.tokenizers.special import unknown_line, without_surrogates
from glassgpt.tokenizers.word import WordTokenizer, count_words
from glassgpt.tokenizers.wordpiece import LONGEST_WORD, WordPieceTokenizer

SMALLEST = {"bpe": 257, "char": 3, "word": 3}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is: the number of "characters read", or of "merges learned" out of `most`."""

    what: str
    done: int
    most: int | None = None


Watch = Callable[[Progress], None]


def train_tokenizer(
    texts: Iterable[str],
    config: TokenizerConfig,
    *,
    say: Callable[[str], None] = lambda _: None,
    watch: Watch = lambda _: None,
) -> FastTokenizer:
    """Return the tokenizer that `config` describes, trained on `texts`, or the ready-made one it names.

    The texts are read once, one at a time. Each distinct piece of text stays in memory with its count: a few
    million for a gigabyte of English. For a far larger corpus pass a sample. `<|endoftext|>` in a text counts
    as plain text.

    `say` gets a sentence if some of the text is not in the vocabulary; `watch` is called with the progress.
    Raises `TokenizerError` when the texts are empty, or when `vocab_size` is too small, naming the smallest.
    """
    if config.name is not None:
        return load_tokenizer(config.name)
    _refuse_too_small(config)
    return FastTokenizer.from_json(_train(_watched(_not_empty(texts), watch), config, say, watch))


def _train(texts: Iterator[str], config: TokenizerConfig, say: Callable[[str], None], watch: Watch) -> str:
    size, frequency = config.vocab_size or 0, config.min_frequency

    def learned(merges: int) -> None:
        watch(Progress("merges learned", merges, size))

    if config.kind == "bpe":
        if config.engine == "rust":
            made = train_bpe_in_rust(texts, vocab_size=size, pattern=config.pattern, min_frequency=frequency)
        else:
            made = BPETokenizer.train(
                texts, vocab_size=size, pattern=config.pattern, min_frequency=frequency, learned=learned
            )
        return made.to_json()
    counts = count_chars(texts) if config.kind == "char" else count_words(texts)
    if config.kind == "char":
        made = CharTokenizer.of(counts, vocab_size=size)
        lost = sum(count for char, count in counts.items() if char not in made.ids)
    elif config.kind == "word":
        made = WordTokenizer.of(counts, vocab_size=size, min_frequency=frequency)
        lost = sum(count for word, count in counts.items() if word not in made.ids)
    else:
        made = WordPieceTokenizer.of(counts, vocab_size=size, min_frequency=frequency, learned=learned)
        lost = sum(count for word, count in counts.items() if len(word) > LONGEST_WORD)
    if lost:
        say(unknown_line(lost, sum(counts.values()), config.kind))
    return made.to_json()


def train_bpe_in_rust(
    texts: Iterable[str], *, vocab_size: int, pattern: str = "gpt2", min_frequency: int = 1
) -> BPETokenizer:
    """Learn the same merges as `BPETokenizer.train` with the library `tokenizers`, on all processor cores."""
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
    tokenizer.train_from_iterator(_short_enough(texts, PATTERNS[pattern]), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    ids = model["vocab"]
    return BPETokenizer([(ids[left], ids[right]) for left, right in model["merges"]], pattern=pattern)


def _short_enough(texts: Iterable[str], pattern: Pattern) -> Iterator[str]:
    """Yield the texts; one with long pieces is yielded piece by piece, because the library would not cut them."""
    find_pieces = regex.compile(pattern.text).findall
    for text in texts:
        if may_have_long_pieces(text):
            yield from pieces_to_learn(text, find_pieces)
        else:
            yield text


def _refuse_too_small(config: TokenizerConfig) -> None:
    smallest, size = SMALLEST.get(config.kind, 0), config.vocab_size or 0
    unlimited = size == 0 and config.kind in ("char", "word")
    if size < smallest and not unlimited:
        why = (
            "256 bytes and `<|endoftext|>`"
            if config.kind == "bpe"
            else "one token, `<|unk|>` and `<|endoftext|>`"
        )
        raise TokenizerError(
            f"`vocab_size` is {size}, and a {config.kind} vocabulary has at least {smallest} "
            f"ids: {why}. Set it to {smallest} or more."
        )


def _watched(texts: Iterable[str], watch: Watch) -> Iterator[str]:
    characters = 0
    for text in texts:
        characters += len(text)
        watch(Progress("characters read", characters))
        yield text


def _not_empty(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts as valid Unicode; raise an error at the end if there was only white space."""
    empty = True
    for text in texts:
        empty = empty and not text.strip()
        yield without_surrogates(text)
    if empty:
        raise TokenizerError("There is no text to train a tokenizer on: every text given is empty.")
