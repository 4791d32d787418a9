"""`glassgpt tokenizer`: make a vocabulary, see how it cuts a text, and measure several on the same text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from glassgpt.cli.given import Given
from glassgpt.cli.options import TextField
from glassgpt.cli.terminal import (
    NARROWEST,
    Output,
    input_blocks,
    make_console,
    print_table,
    printable,
    prose_width,
    shown,
    typed,
    visible,
)
from glassgpt.cli.tokens import Counts, counted, paints_of, token_lines, unknown_count, write_ids
from glassgpt.errors import MisplacedWordError, TokenizerError
from glassgpt.idle import refuse_idle
from glassgpt.tokenizers.config import Engine, Kind, PatternName

if TYPE_CHECKING:
    from rich.console import Console

    from glassgpt.tokenizers.config import TokenizerConfig
    from glassgpt.tokenizers.fast import FastTokenizer
    from glassgpt.tokenizers.train import Progress

Say = Callable[[str], None]

app = cyclopts.App(name="tokenizer", help="Train, use and compare tokenizers.")

_MEASURED_BYTES = 8_000_000
MEASURED = ("kind", "ids", "tokens", "bytes a token", "unknown", "MB/s")
MOST_UNKNOWN = 0.01
"""Share of unknown tokens at which bytes per token mean nothing."""


@app.command
def train(
    *sources: str,
    output: Path,
    kind: Kind = "bpe",
    vocab_size: int | None = None,
    pattern: PatternName = "gpt2",
    engine: Engine = "auto",
    min_frequency: int = 2,
    force: Annotated[bool, cyclopts.Parameter(negative=())] = False,
    text_field: TextField = None,
    given: Given = (),
) -> None:
    """Train a vocabulary on text and write it as tokenizer.json, which other tools can also load.

    Parameters
    ----------
    sources
        Files, folders, globs, builtin:name, hf:owner/name[:split][#column], or a known corpus.
    output
        The file to write, or a folder to write tokenizer.json into.
    kind
        What a token is: a character, a word, a byte-level BPE piece, or a WordPiece.
    vocab_size
        Number of ids in all, including special tokens and the 256 bytes. A text that is too small gives fewer.
        For char and word it is a maximum, and 0 means no limit. Default: 4096, and no limit for char.
    pattern
        BPE: how text is cut before merging. These three are the ones llama.cpp knows by name.
    engine
        BPE: what learns the merges, Python or the Rust library. Both learn the same. auto takes Python.
    min_frequency
        A pair (BPE, WordPiece) or a word that occurs less often gets no id.
    force
        Overwrite an existing file.
    text_field
        The field of .jsonl, .json, .csv and .parquet records that holds the text.
    """
    from glassgpt.outputs import refuse_overwriting
    from glassgpt.tokenizers.config import TokenizerConfig
    from glassgpt.tokenizers.load import TOKENIZER_FILE

    config = TokenizerConfig(
        kind=kind, vocab_size=vocab_size, pattern=pattern, engine=engine, min_frequency=min_frequency
    )
    refuse_idle(config, given)
    _refuse_idle_field(sources, text_field)
    path = output / TOKENIZER_FILE if output.is_dir() else output
    refuse_overwriting(path, option="--output", inputs=lambda: _files(sources, text_field), force=force)
    tokenizer = _train_and_write(config, lambda say: _texts(sources, text_field, say), path)
    if 0 < tokenizer.vocab_size < (config.vocab_size or 0) and kind in ("bpe", "wordpiece"):
        _say(make_console(), f"The text gives no more ids at min_frequency {min_frequency}.")


def _train_and_write(
    config: TokenizerConfig, texts: Callable[[Say], Iterator[str]], path: Path
) -> FastTokenizer:
    """Train a tokenizer, show how far it is, write it, and say what was left out."""
    from glassgpt.tokenizers.train import train_tokenizer

    console = make_console()
    began = time.perf_counter()
    left_out: list[str] = []
    with console.status("Reading ...") as status:
        tokenizer = train_tokenizer(
            texts(lambda line: _say(console, line)),
            config,
            say=left_out.append,
            watch=lambda done: status.update(_how_far(done)),
        )
    tokenizer.save(path)
    seconds = time.perf_counter() - began
    _say(console, f"Wrote {path}: {tokenizer.kind}, {tokenizer.vocab_size:,} ids, in {seconds:.1f} s.")
    for line in left_out:
        _say(console, line)
    return tokenizer


@app.command
def encode(
    tokenizer: str,
    text: Annotated[str, cyclopts.Parameter(allow_leading_hyphen=True)],
    *,
    ids: bool = False,
    allow_special: bool = False,
) -> None:
    """Show the tokens of a text, each with its id.

    Parameters
    ----------
    tokenizer
        A ready-made name (gpt2, cl100k_base, o200k_base), a tokenizer.json, a folder with one, or a run.
    text
        The text, or - to read it from standard input.
    ids
        Print only the ids, as `tokenizer decode` takes them.
    allow_special
        Treat <|endoftext|> in the text as the special token, not as characters.
    """
    loaded = _open(tokenizer)
    counts = Counts(loaded)
    found = counts.watch(
        loaded.encode_parts(input_blocks() if text == "-" else [typed(text)], allow_special=allow_special)
    )
    output = Output(sys.stdout)
    if ids:
        write_ids(output, found)
        return
    console = make_console()
    for line in token_lines(loaded, found, width=prose_width(console), paints=paints_of(console)):
        output.write(line + "\n")
    output.flush()
    for line in counts.lines():
        _say(console, line)


@app.command
def decode(tokenizer: str, *ids: int, show_special: bool = False) -> None:
    """Print the text that ids stand for.

    Parameters
    ----------
    tokenizer
        A ready-made name (gpt2, cl100k_base, o200k_base), a tokenizer.json, a folder with one, or a run.
    ids
        The ids, separated by spaces.
    show_special
        Show special tokens by name.
    """
    text = _open(tokenizer).decode(ids, skip_special=not show_special)
    output = Output(sys.stdout)
    output.write((printable(text) if output.isatty() else text) + "\n")
    output.flush()


@app.command
def compare(*tokenizers: str, text: str, text_field: TextField = None) -> None:
    """Encode the same text with several tokenizers, and compare length and speed.

    Parameters
    ----------
    tokenizers
        Ready-made names (gpt2, cl100k_base, o200k_base), tokenizer.json files, folders with one, or runs.
    text
        The text to measure on: a file or any other source. Only the first 8 MB are used.
    text_field
        The field of .jsonl, .json, .csv and .parquet records that holds the text.
    """
    from rich import box
    from rich.table import Table

    if not tokenizers:
        raise TokenizerError(
            "No tokenizer was named. Give one or more, for example `gpt2 runs/mine --text my.txt`."
        )
    console = make_console()
    _refuse_idle_field([text], text_field)
    sample = _sample(text, text_field, lambda line: _say(console, line))
    rows = [(shown(name), *_measure(_open(name), sample)) for name in tokenizers]
    columns = [max(map(len, column)) + 3 for column in zip(MEASURED, *(row[1:] for row in rows), strict=True)]
    if console.width < NARROWEST + sum(columns):
        for name, *figures in rows:
            console.print(f"[bold]{name}[/]")
            console.print(
                "".join(f"  {what:<14} {each}\n" for what, each in zip(MEASURED, figures, strict=True))
            )
    else:
        table = Table(box=box.SIMPLE)
        table.add_column("tokenizer", overflow="fold")
        for column in MEASURED:
            table.add_column(column, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        print_table(console, table)
    size = sum(len(document.encode()) for document in sample)
    _say(console, f"Measured on {counted(size, 'byte')} of {text}, by one thread.")
    _say(console, '"unknown" counts the different words or characters that are not in a vocabulary.')
    _say(
        console,
        f"An unknown token may stand for any number of bytes, so from {MOST_UNKNOWN:.0%} of them on no bytes a "
        f"token are shown.",
    )


def _how_far(done: Progress) -> str:
    of = f" of {done.most:,} at most" if done.most else ""
    return f"{done.done:,} {done.what}{of} ..."


def _refuse_idle_field(sources: Sequence[str], text_field: str | None) -> None:
    if text_field is not None:
        from glassgpt.corpus.sources import refuse_idle_field

        refuse_idle_field(sources)


def _files(sources: Sequence[str], text_field: str | None) -> list[Path]:
    from glassgpt.corpus.sources import open_sources

    return [Path(source.name) for source in open_sources(list(sources), text_field=text_field)]


def _texts(sources: Sequence[str], text_field: str | None, say: Callable[[str], None]) -> Iterator[str]:
    from glassgpt.corpus.sources import open_sources, read_all

    opened = open_sources(list(sources), text_field=text_field)
    for note in (note for source in opened for note in source.notes):
        say(note)
    return (document.text for document in read_all(opened))


def _sample(source: str, text_field: str | None, say: Callable[[str], None]) -> list[str]:
    """Return documents from the beginning of `source`, at most `_MEASURED_BYTES`. Raises when it is empty."""
    sample, size = [], 0
    for text in _texts([source], text_field, say):
        text = text[: _MEASURED_BYTES - size]
        size += len(text.encode())
        sample.append(text)
        if size >= _MEASURED_BYTES:
            break
    if not size:
        raise TokenizerError(f"{source} holds no text to measure on. Name a file with some text in it.")
    return sample


def _measure(tokenizer: FastTokenizer, sample: list[str]) -> tuple[str, ...]:
    size = sum(len(text.encode()) for text in sample)
    tokenizer.encode(sample[0][:1000])  # what is built on first use is not timed
    began = time.perf_counter()
    ids = [tokenizer.encode(text) for text in sample]
    seconds = time.perf_counter() - began
    tokens = sum(map(len, ids))
    unknown = len({part for text in sample for part in tokenizer.unknown(text)})
    share = sum(unknown_count(tokenizer, some) for some in ids) / max(1, tokens)
    return (
        tokenizer.kind,
        f"{tokenizer.vocab_size:,}",
        f"{tokens:,}",
        f"{size / tokens:.2f}" if tokens and share < MOST_UNKNOWN else "-",
        f"{unknown:,} ({share:.1%} of tokens)" if share else f"{unknown:,}",
        f"{size / 1e6 / seconds:.1f}",
    )


def _open(name: str) -> FastTokenizer:
    """Load a tokenizer by name or path, or that of a run in this folder."""
    from glassgpt.runs.vocabulary import named_tokenizer

    try:
        return named_tokenizer(name)
    except TokenizerError as error:
        if Path(name).exists():
            raise
        fact, meant, hint = str(error).partition(" Did you mean")
        raise MisplacedWordError(fact, f"{meant}{hint}".strip(), words=(name,)) from error


def _say(console: Console, line: str) -> None:
    console.print(visible(line, lines=True), markup=False, highlight=False)
