"""`glassgpt data`: look at text before training on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from glassgpt.cli.given import Given
from glassgpt.cli.options import TextField
from glassgpt.idle import refuse_idle

NUMBERS = ("size on disk", "split", "documents", "characters", "share")
"""Columns of tables that are never folded."""

if TYPE_CHECKING:
    from glassgpt.corpus.splits import SplitConfig

app = cyclopts.App(name="data", help="Look at text before training on it.")


@app.command
def inspect(
    *sources: str,
    tokenizer: str | None = None,
    text_field: TextField = None,
    mode: Annotated[Literal["off", "gentle", "strict"], Parameter(name="--cleaning.mode")] = "gentle",
    validation: Annotated[float, Parameter(name="--split.validation")] = 0.1,
    test: Annotated[float, Parameter(name="--split.test")] = 0.0,
    seed: Annotated[int, Parameter(name="--split.seed")] = 0,
    given: Given = (),
) -> None:
    """Read text as training would, and show what it contains, what cleaning does, and how it would be split.

    Parameters
    ----------
    sources
        Files, folders, globs, builtin:name, hf:owner/name[:split][#column], or a known corpus.
    tokenizer
        A tokenizer to count tokens with: a ready-made name (gpt2, cl100k_base, o200k_base), a tokenizer.json, a
        folder with one, or a run. Without it, only words and bytes are counted.
    text_field
        The field of .jsonl, .json, .csv and .parquet records that holds the text.
    mode
        off changes nothing; gentle repairs characters and drops exact copies; strict also filters.
    validation
        Share of the text to measure on while training.
    test
        Share of the text to keep for the end.
    seed
        Another seed holds out other documents.
    """
    from glassgpt.cli.terminal import make_console
    from glassgpt.corpus.cleaning import CleaningConfig, CleaningReport, clean
    from glassgpt.corpus.sources import open_sources, read_all, refuse_idle_field
    from glassgpt.corpus.splits import SplitConfig
    from glassgpt.corpus.statistics import survey

    console, report = make_console(markup=False), CleaningReport()
    split_config = SplitConfig(validation=validation, test=test, seed=seed)
    refuse_idle(_Sections(split_config), given)
    if text_field is not None:
        refuse_idle_field(sources)
    opened = open_sources(sources, text_field=text_field)
    counted_by = None
    if tokenizer is not None:
        from glassgpt.runs.vocabulary import named_tokenizer

        counted_by = named_tokenizer(tokenizer)
    with console.status(f"Reading {len(opened)} source{'s' * (len(opened) != 1)} ..."):
        documents = clean(read_all(opened), CleaningConfig(mode=mode), report)
        figures = survey(
            documents,
            tokenize=counted_by and counted_by.encode,
            unknown_id=counted_by and counted_by.unknown_id,
            split_config=split_config,
        )
    _print_sources(console, opened)
    _print_cleaning(console, report)
    _print_figures(console, figures)
    _print_what_is_left(console, figures, counted_by and counted_by.kind)


def _print_what_is_left(console, figures, kind: str | None) -> None:
    """Show unknown tokens of a tokenizer's `kind` and the splits, or say that nothing is left to train on."""
    from glassgpt.cli.terminal import say
    from glassgpt.tokenizers.special import unknown_line

    if kind is not None and figures.tokens and figures.unknown:
        say(console, "  " + unknown_line(figures.unknown, figures.tokens, kind))
    if not figures.characters:
        say(
            console, "\nNo text is left to train on. Name more text, or keep it all with  --cleaning.mode off"
        )
        return
    _print_splits(console, figures)
    if "train" not in figures.splits:
        say(console, "All of it is held out, so nothing is left to train on. Name more text.")


@dataclass(frozen=True)
class _Sections:
    """The sections of a training's config that have an option here, so that both spell a setting in the same way."""

    split: SplitConfig


def _print_sources(console, sources) -> None:
    from glassgpt.cli.terminal import print_table, say, visible

    most = 12
    has_sizes = any(source.bytes is not None for source in sources[:most])
    table = _table("Sources", "name", *["size on disk"] * has_sizes)
    for source in sources[:most]:
        sizes = ["" if source.bytes is None else f"{source.bytes:,} bytes"] * has_sizes
        table.add_row(visible(source.name), *sizes)
    if len(sources) > most:
        table.add_row(f"... and {len(sources) - most:,} more")
    print_table(console, table)
    for note in (note for source in sources for note in source.notes):
        say(console, f"  {note}")


def _print_cleaning(console, report) -> None:
    from glassgpt.cli.terminal import say

    console.print("\nCleaning", style="bold")
    for line in report.lines():
        say(console, f"  {line}")


def _print_figures(console, figures) -> None:
    from glassgpt.cli.terminal import print_table, say, visible

    table = _table("\nWhat is left", "", "")
    about = "about " if figures.is_sampled else ""
    rows = {
        "documents": f"{figures.documents:,}",
        "characters": f"{figures.characters:,}",
        "bytes": f"{figures.bytes:,}",
        "words": f"{figures.words:,}",
        "distinct words": f"{about}{figures.vocabulary_growth[-1][1]:,}",
    }
    for words, distinct in figures.vocabulary_growth[:-1]:
        rows[f"  after {words:,} words"] = f"{about}{distinct:,}"
    if figures.tokens is not None:
        per_token = f" ({figures.bytes / figures.tokens:.2f} bytes each)" if figures.tokens else ""
        rows["tokens"] = f"{figures.tokens:,}{per_token}"
    rows["exact duplicates"] = f"{about}{figures.duplicates:,}"
    rows["near-duplicates"] = _near_duplicates(figures)
    for name, extreme in (("longest", figures.longest), ("shortest", figures.shortest)):
        if extreme is not None and (figures.documents > 1 or name == "longest"):
            rows[name] = f"{extreme.characters:,} characters, {extreme.source}: {extreme.first_words} ..."
    for name, value in rows.items():
        table.add_row(name, visible(value))
    print_table(console, table)
    if figures.tokens is None:
        say(console, "  Tokens were not counted, only words and bytes: name a --tokenizer to count them.")


def _near_duplicates(figures) -> str:
    from glassgpt.corpus.statistics import NEAR_LIMIT

    if figures.near_duplicates is None:
        return "not looked for: pip install 'glassgpt[data]'"
    beyond = f" among the first {NEAR_LIMIT:,}" if figures.documents > NEAR_LIMIT else ""
    return f"{figures.near_duplicates:,}{beyond}"


def _print_splits(console, figures) -> None:
    from glassgpt.cli.terminal import print_table, say

    table = _table("\nSplits", "split", "documents", "characters", "share")
    for name, counted in figures.splits.items():
        share = f"{counted.characters / max(figures.characters, 1):.1%}"
        table.add_row(name, f"{counted.documents:,}", f"{counted.characters:,}", share)
    print_table(console, table)
    if sum(counted.documents for counted in figures.splits.values()) > figures.documents:
        say(console, "  Documents were cut to divide the text. Each split that has a part of one counts it.")
    for name, leak in figures.leaks.items():
        runs = "" if leak.runs is None else f" and {leak.runs:.2%} of 13-word runs"
        few = " It has no run of 13 words to compare." if leak.runs is None else ""
        say(
            console,
            f"  Of the {name} text, {leak.documents:.1%} of documents{runs} also occur in the training text.{few}",
        )


def _table(title: str, *columns: str):
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE, show_header=any(columns)
    )
    for column in columns:
        table.add_column(column, no_wrap=column in NUMBERS or (not column and not table.columns))
    return table
