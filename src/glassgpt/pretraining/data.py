"""From sources to token shards, once: the result is kept in the cache under a hash of all that decides it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from glassgpt import files
from glassgpt.corpus.cleaning import CleaningReport, clean
from glassgpt.corpus.documents import Document
from glassgpt.corpus.sources import Source, open_sources, read_all
from glassgpt.corpus.splits import SplitConfig, split
from glassgpt.dataset.prepare import prepare
from glassgpt.dataset.shards import SPLITS, TokenShards, TokenSplit, open_shards
from glassgpt.errors import CorpusError, DatasetError, RunError
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.opening import read_lineage
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.load import load_tokenizer
from glassgpt.tokenizers.special import unknown_line
from glassgpt.tokenizers.train import train_tokenizer

# Raised when a change of code changes what the same configuration prepares.
PREPARATION = 1
# A vocabulary stops changing long before this much text.
TOKENIZER_CHARACTERS = 64_000_000

Say = Callable[[str], None]


@dataclass(frozen=True)
class PreparedData:
    """A corpus as a model sees it."""

    shards: TokenShards
    tokenizer: FastTokenizer
    source_names: tuple[str, ...]


def prepare_data(config: RunConfig, say: Say = lambda _: None) -> PreparedData:
    """Read, clean, split and tokenize the corpus of `config`, or open what an earlier call left.

    `say` is told each stage in one line. Raises `CorpusError`, `TokenizerError` or `DatasetError`.
    """
    if not config.corpus.sources:
        raise CorpusError(
            "This run was imported, so it has no text of its own. Name some to measure it on (glassgpt evaluate RUN "
            "FILE) or to teach it (glassgpt finetune)."
        )
    sources = open_sources(list(config.corpus.sources), text_field=config.corpus.text_field)
    names = tuple(source.name for source in sources)
    plan = _plan(config, sources)
    folder = files.cache_dir() / "prepared" / plan[:24]
    if files.broken_seal(folder, hashes=False) is None:
        shards = open_shards(folder)
        say(f"Using the tokens prepared earlier from {_names(names)}.")
        data = PreparedData(shards, FastTokenizer.from_file(folder / "tokenizer.json"), names)
        _say_unknown(data, say)
        return data

    say(f"Reading {_names(names)}.")
    for note in (note for source in sources for note in source.notes):
        say(note)
    tokenizer = _tokenizer(config, sources, folder.with_suffix(".tokenizer.json"), say)
    report = CleaningReport()
    shards = prepare(
        _documents(config, sources, report),
        tokenizer,
        folder,
        plan=plan,
        facts={
            "sources": [{"name": source.name, "fingerprint": source.fingerprint} for source in sources],
            "cleaning": report.to_dict,
        },
        encode=tokenizer.encode_arrays,
    )
    for line in report.lines():
        say(line)
    _check(shards, names, config)
    folder.with_suffix(".tokenizer.json").unlink(missing_ok=True)
    data = PreparedData(shards, tokenizer, names)
    _say_unknown(data, say)
    return data


def prepare_whole(config: RunConfig, tokenizer: Path, say: Say = lambda _: None) -> TokenSplit:
    """Return all the text of `config` as one split, in the ids of the tokenizer at a path: to measure on."""
    config = dataclasses.replace(
        config, split=SplitConfig(validation=0.0), tokenizer=TokenizerConfig(name=str(tokenizer))
    )
    return prepare_data(config, say).shards.split("train")


def refuse_other_data(directory: RunDirectory, data: PreparedData) -> None:
    """Raise `RunError` when what a run's sources give now is not what the run was trained on."""
    if not directory.lineage.is_file():  # killed before it had made its first file: nothing to contradict
        return
    lineage = read_lineage(directory)
    same_text = lineage["data"]["plan"] == data.shards.manifest["plan"]
    if not same_text or lineage["tokenizer"]["fingerprint"] != data.tokenizer.fingerprint:
        raise RunError(
            f"The text of {directory.name} (or how it is prepared) has changed since the run began, so going on "
            "would not be the same run. Put the original text back, or start a new run under another --name."
        )


def _plan(config: RunConfig, sources: list[Source]) -> str:
    """Hash everything that decides the shards."""
    tokenizer = asdict(config.tokenizer)
    if tokenizer["engine"] == "auto":  # the same merges, and the plan of runs from before there was a choice
        tokenizer["engine"] = "rust"
    if config.tokenizer.name and Path(config.tokenizer.name).exists():
        tokenizer["fingerprint"] = load_tokenizer(config.tokenizer.name).fingerprint
    decisive = {
        "preparation": PREPARATION,
        "sources": [source.fingerprint for source in sources],
        "text_field": config.corpus.text_field,
        "cleaning": asdict(config.cleaning),
        "split": asdict(config.split),
        "tokenizer": tokenizer,
    }
    return files.hash_text(json.dumps(decisive, sort_keys=True))


def _documents(
    config: RunConfig, sources: list[Source], report: CleaningReport
) -> Iterator[tuple[str, Document]]:
    return split(clean(read_all(sources), config.cleaning, report), config.split)


def _tokenizer(config: RunConfig, sources: list[Source], kept: Path, say: Say) -> FastTokenizer:
    """Load the tokenizer that is named, or train one (and keep it, should preparing be interrupted)."""
    if config.tokenizer.name:
        return load_tokenizer(config.tokenizer.name)
    if kept.is_file():
        return FastTokenizer.from_file(kept)
    say(f"Training a {config.tokenizer.kind} tokenizer.")
    tokenizer = train_tokenizer(_tokenizer_texts(config, sources), config.tokenizer)
    tokenizer.save(kept)
    return tokenizer


def _tokenizer_texts(config: RunConfig, sources: list[Source]) -> Iterator[str]:
    """Yield the text a vocabulary is made from: the training split, up to a limit.

    A character vocabulary is taken from all text, since a character missing from it cannot be read at all.
    """
    everything = config.tokenizer.kind == "char"
    characters = 0
    for name, document in _documents(config, sources, CleaningReport()):
        if everything or (name == "train" and characters < TOKENIZER_CHARACTERS):
            characters += len(document.text)
            yield document.text


def _check(shards: TokenShards, names: tuple[str, ...], config: RunConfig) -> None:
    if not len(shards.split("train")):
        raise CorpusError(
            f"No text is left to train on in {_names(names)}: it is empty, or cleaning dropped all of it. "
            "`glassgpt data inspect` shows what is there; --cleaning.mode off keeps everything."
        )
    if config.split.validation and len(shards.split("validation")) < 2:
        raise DatasetError(
            f"Too little text is left to validate on in {_names(names)}. Give more text, or a larger "
            "--split.validation."
        )


def _say_unknown(data: PreparedData, say: Say) -> None:
    """Say how much of the text the vocabulary does not know, if any."""
    unknown, end = data.tokenizer.unknown_id, data.tokenizer.end_of_text
    if unknown is None or unknown == end:
        return
    counts = sum(data.shards.split(name).counts(data.tokenizer.vocab_size) for name in SPLITS)
    assert isinstance(counts, np.ndarray)
    if counts[unknown]:
        total = int(counts.sum() - counts[end])
        say(unknown_line(int(counts[unknown]), total, data.tokenizer.kind))


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
