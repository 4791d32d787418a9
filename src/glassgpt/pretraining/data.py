"""From sources to token shards, once: the result is cached under a hash of everything that decides it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np

from glassgpt import files
from glassgpt.corpus.cleaning import CleaningReport, clean
from glassgpt.corpus.documents import Document
from glassgpt.corpus.repeats import AFTER, BEFORE, compressed_bits
from glassgpt.corpus.sources import Source, nothing_left, open_sources, read_all
from glassgpt.corpus.splits import SplitConfig, all_held_out, split
from glassgpt.dataset.prepare import prepare
from glassgpt.dataset.shards import SPLITS, TokenShards, TokenSplit, open_shards, unusable
from glassgpt.errors import ConfigError, CorpusError, DatasetError, RunError
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import DataFacts, Lineage
from glassgpt.runs.lineage import shard_facts
from glassgpt.runs.places import absolute
from glassgpt.runs.reading import read_lineage
from glassgpt.runs.vocabulary import named_tokenizer, tokenizer_place
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.load import load_tokenizer
from glassgpt.tokenizers.special import unknown_line
from glassgpt.tokenizers.train import train_tokenizer

# Increased when a code change alters what the same configuration prepares.
PREPARATION = 1
# When several processes prepare the same text, one works and the others wait. The lock of `prepare` is not enough,
# because the vocabulary comes first.
ONE_AT_A_TIME = ".one-at-a-time"
# Where a trained vocabulary is kept until the tokens are written.
KEPT = "vocabulary"
# A vocabulary stops changing long before this amount of text.
TOKENIZER_CHARACTERS = 64_000_000

Say = Callable[[str], None]


@dataclass(frozen=True)
class PreparedData:
    """A corpus as a model sees it."""

    shards: TokenShards
    tokenizer: FastTokenizer
    sources: tuple[Source, ...]


def prepare_data(config: RunConfig, say: Say = lambda _: None) -> PreparedData:
    """Read, clean, split and tokenize the corpus of `config`, or open what an earlier call prepared.

    `say` receives one line per stage. Raises `ConfigError`, `CorpusError`, `TokenizerError` or `DatasetError`.
    """
    if not config.corpus.sources:
        raise CorpusError(
            "This run was imported, so it has no text of its own. Name some to measure it on (glassgpt eval RUN "
            "FILE) or to teach it (glassgpt finetune)."
        )
    if not config.split.validation:
        raise ConfigError(
            "split.validation is 0, so nothing is held out. Training measures on held-out text, and keeps the "
            "weights that predict it best. Give it a share of the text, such as --split.validation 0.02."
        )
    _refuse_unwritable(config)
    return _read(config, say)


def _refuse_unwritable(config: RunConfig) -> None:
    """Raise `AccessError` for a name or a prompt that the run's config could not hold, before any work is done."""
    for text in (*absolute(config.corpus.sources), *config.samples.prompts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise files.not_utf8(error) from error


def _read(config: RunConfig, say: Say) -> PreparedData:
    sources = open_sources(list(config.corpus.sources), text_field=config.corpus.text_field)
    plan = _plan(config, sources)
    folder = files.cache_dir() / "prepared" / plan[:24]
    for note in (note for source in sources for note in source.notes):
        say(note)  # each time: another command may have prepared the tokens and printed it there
    data = _prepared(config, sources, folder, plan, say)
    _say_unknown(data, say)
    return data


def _prepared(config: RunConfig, sources: list[Source], folder: Path, plan: str, say: Say) -> PreparedData:
    if unusable(folder) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        with files.locked(folder / ONE_AT_A_TIME):
            trouble = unusable(folder)  # checked again: another process may have made them in the meantime
            if trouble is not None:
                if (folder / files.MANIFEST).exists():
                    say(
                        f"The tokens prepared earlier in {folder} cannot be used ({trouble}). They are made again."
                    )
                say(f"Reading {_names(_source_names(sources))}.")
                return PreparedData(*_prepare(config, sources, folder, plan, say), tuple(sources))
    say(f"Using the tokens prepared earlier from {_names(_source_names(sources))}.")
    return PreparedData(
        open_shards(folder), FastTokenizer.from_file(folder / "tokenizer.json"), tuple(sources)
    )


def _source_names(sources: list[Source]) -> tuple[str, ...]:
    return tuple(source.name for source in sources)


def _prepare(
    config: RunConfig, sources: list[Source], folder: Path, plan: str, say: Say
) -> tuple[TokenShards, FastTokenizer]:
    tokenizer = _tokenizer(config, sources, folder / KEPT, say)
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
    _check(shards, sources, config)
    shutil.rmtree(folder / KEPT, ignore_errors=True)
    return shards, tokenizer


def prepare_whole(config: RunConfig, tokenizer: Path, say: Say = lambda _: None) -> TokenSplit:
    """Return all the text of `config` as one split to measure on, in the ids of the tokenizer at a path."""
    config = dataclasses.replace(
        config, split=SplitConfig(validation=0.0), tokenizer=TokenizerConfig(name=str(tokenizer))
    )
    return _read(config, say).shards.split("train")


def refuse_other_data(directory: RunDirectory, data: PreparedData) -> None:
    """Raise `RunError` when a run's sources no longer give the data that the run was trained on."""
    lineage = read_lineage(directory)
    if not _same_tokens(lineage, data):
        raise RunError(
            f"The text of {directory.name} (or how it is prepared) has changed since the run began, so continuing "
            f"would not be the same run. Put the original text back, or start a new run under another --name."
        )


def _same_tokens(lineage: Lineage, data: PreparedData) -> bool:
    """Return whether prepared tokens are those of a lineage: by their hashes, which older versions did not write."""
    then, now = lineage.data, data.shards
    if then is None or lineage.tokenizer.fingerprint != data.tokenizer.fingerprint:
        return False
    if then.shards is not None:
        return then.shards == now.hashes
    if then.plan == now.manifest["plan"]:
        return True
    same = msgspec.convert({"sources": [], **shard_facts(now)}, DataFacts)
    return (
        then.fingerprints == [source.fingerprint for source in data.sources] and then.amounts == same.amounts
    )


def _plan(config: RunConfig, sources: list[Source]) -> str:
    """Hash everything that decides the shards."""
    tokenizer = asdict(config.tokenizer)
    if tokenizer["engine"] == "auto":  # the same merges, and the plan of runs from before there was a choice
        tokenizer["engine"] = "rust"
    place = config.tokenizer.name and tokenizer_place(config.tokenizer.name)
    if place and Path(place).exists():
        tokenizer["fingerprint"] = load_tokenizer(place).fingerprint
        tokenizer["name"] = None  # wherever the file is, the vocabulary is the same
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
    """Load the named tokenizer, or train one (and keep it, in case preparing is interrupted)."""
    if config.tokenizer.name:
        return named_tokenizer(config.tokenizer.name)
    if files.broken_seal(kept) is None:
        return FastTokenizer.from_file(kept / "tokenizer.json")
    say(f"Training a {config.tokenizer.kind} tokenizer.")
    texts = (text for text in _tokenizer_texts(config, sources) if text)
    first = next(texts, None)
    if first is None:
        raise _nothing_to_train_on(config, sources)
    tokenizer = train_tokenizer(itertools.chain([first], texts), config.tokenizer)
    with files.atomic_directory(kept) as temporary:
        tokenizer.save(temporary / "tokenizer.json")
    return tokenizer


def _tokenizer_texts(config: RunConfig, sources: list[Source]) -> Iterator[str]:
    """Yield the text that a vocabulary is made from: the training split, up to a limit.

    A character vocabulary is made from all text, because a missing character could not be read at all.
    """
    everything = config.tokenizer.kind == "char"
    characters = 0
    for name, document in _documents(config, sources, CleaningReport()):
        if everything or (name == "train" and characters < TOKENIZER_CHARACTERS):
            characters += len(document.text)
            yield document.text


def _check(shards: TokenShards, sources: list[Source], config: RunConfig) -> None:
    if not len(shards.split("train")):
        raise _nothing_to_train_on(config, sources)
    if config.split.validation and len(shards.split("validation")) < 2:
        raise DatasetError(
            f"Too little text is left to validate on in {_names(_source_names(sources))}. Give more text, or a larger "
            "--split.validation."
        )


def _nothing_to_train_on(config: RunConfig, sources: list[Source]) -> CorpusError:
    """Return the error that says where all the text went."""
    if any(document.text for _, document in _documents(config, sources, CleaningReport())):
        return all_held_out(config.corpus.sources, config.split)
    if config.split.validation:
        return nothing_left(config.corpus.sources, text_field=config.corpus.text_field)
    return CorpusError(  # from `prepare_whole`: the run decides the cleaning, not an option
        f"There is no text to measure on in {_names(_source_names(sources))}: it is empty, or the cleaning that the "
        f"run was trained with ({config.cleaning.mode}) dropped all of it. Name another text."
    )


def compressed_held_out(data: PreparedData) -> float | None:
    """Return the bits per byte that a compressor needs for the held-out text, None where that is too short."""
    train, held = data.shards.split("train"), data.shards.split("validation")
    before, after = _tokens_of(train, BEFORE), _tokens_of(held, AFTER)
    ids = train.read(len(train) - before, before), held.read(0, after)
    return compressed_bits(*(data.tokenizer.decode(part.tolist()).encode("utf-8") for part in ids))


def _tokens_of(split: TokenSplit, size: int) -> int:
    """Return how many tokens are about `size` bytes of a split, at most all of them."""
    return min(len(split), int(size / max(0.1, split.bytes_per_token)))


def held_in(data: PreparedData, name: str) -> TokenSplit:
    """Return a split of a run's own text to measure on. Raises `DatasetError` when it is empty."""
    split = data.shards.split(name)
    if not len(split):
        others = [other for other in SPLITS if len(data.shards.split(other))]
        raise DatasetError(
            f"The run was trained without a {name} split (split.{name} is 0), so there is nothing to measure on. It "
            f"has: {', '.join(others)}. Or name another text."
        )
    return split


def _say_unknown(data: PreparedData, say: Say) -> None:
    """Report how much of the text is not in the vocabulary, if any."""
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
