"""Tokens on a screen: counted, quoted or coloured, and never broken at the end of a line."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from glassgpt.cli.terminal import Output
from glassgpt.cli.tokens import Counts, counted, paints_of, token_lines, unknown_count, write_ids
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_tokenizer

TEXT = "the cat sat on the mat\n"


def made(kind: str) -> FastTokenizer:
    return train_tokenizer([TEXT * 3], TokenizerConfig(kind=kind, vocab_size=280 if kind == "bpe" else 0))


def test_counts_are_of_all_parts_together() -> None:
    tokenizer = made("bpe")
    counts = Counts(tokenizer)
    parts = ["the cat", " żółw"]
    ids = [tokenizer.encode(part) for part in parts]
    assert list(counts.watch(zip(parts, ids, strict=True))) == ids
    tokens, size = sum(map(len, ids)), len("the cat żółw".encode())
    assert list(counts.lines()) == [f"\n{tokens} tokens for {size} bytes, {size / tokens:.2f} bytes a token"]


def test_unknown_words_are_named_once_and_no_average_is_given() -> None:
    tokenizer = made("word")
    counts = Counts(tokenizer)
    text = "the dog and the dog"
    ids = tokenizer.encode(text)
    assert unknown_count(tokenizer, ids) == 3
    list(counts.watch([(text, ids)]))
    assert list(counts.lines()) == ["\n5 tokens for 19 bytes", "Not in the vocabulary: dog and"]


def test_nothing_is_counted_as_nothing() -> None:
    assert list(Counts(made("bpe")).lines()) == ["\n0 tokens for 0 bytes"]
    assert counted(1, "byte") == "1 byte"
    assert counted(1200, "byte") == "1,200 bytes"


def test_ids_of_many_parts_are_one_line() -> None:
    screen = io.StringIO()
    write_ids(Output(screen), [[1, 2], [], [3]])
    assert screen.getvalue() == "1 2 3\n"


@pytest.mark.parametrize("width", [20, 60, 200])
@pytest.mark.parametrize("colours", [None, "standard"])
def test_lines_hold_whole_tokens_and_fit(width: int, colours: str | None) -> None:
    tokenizer = made("bpe")
    ids = tokenizer.encode("猫 and the cat\tsat\r\n" * 5)
    console = Console(file=io.StringIO(), force_terminal=True, color_system=colours)
    lines = list(token_lines(tokenizer, [ids], width=width, paints=paints_of(console)))
    plain = [strip(line) for line in lines]
    assert all(cell_len(line) <= width for line in plain)
    shown = [part for line in plain for part in line.split("  ") if part.strip()]
    assert [int(part.split()[-1]) for part in shown] == ids
    assert "⏎" in "".join(plain)
    assert "⇥" in "".join(plain)


def strip(line: str) -> str:
    from rich.text import Text

    return Text.from_ansi(line).plain
