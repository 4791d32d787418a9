"""Preparing a gigabyte of text: wall time compared with encoding alone, and memory.

The peer only encodes: tiktoken's `encode_ordinary_batch` on the same documents, read beforehand, in groups of the
same size and with the same number of threads. Reading, cleaning, splitting, hashing and writing are not in its time,
so a ratio of 1 would mean that preparing costs nothing. Each side is a fresh process. The large text takes minutes,
during which the speed of a shared machine changes, so a smaller one is prepared alternately with the peer.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Fresh, fresh
from benchmarks.report import Figure
from benchmarks.texts import fairytales, write_corpus
from glassgpt.corpus.cleaning import CleaningConfig
from glassgpt.corpus.textfiles import read_text
from glassgpt.dataset.prepare import GROUP_CHARACTERS
from glassgpt.pretraining.data import prepare_data
from glassgpt.runs.config import CorpusConfig, RunConfig
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_tokenizer

BYTES, QUICK_BYTES = 1_000_000_000, 4_000_000
TURN_BYTES, TURNS = 48_000_000, 3
VOCABULARY = 8192
THREADS = os.cpu_count() or 1


def run(quick: bool) -> list[Figure]:
    """Prepare a gigabyte in one process, then smaller texts alternately with the peer."""
    size, turn_size = (QUICK_BYTES, QUICK_BYTES) if quick else (BYTES, TURN_BYTES)
    with tempfile.TemporaryDirectory(prefix="glassgpt-prepare-") as name:
        folder = Path(name)
        _make_vocabulary(folder / "tokenizer.json")
        figures = _turns(folder, turn_size, 1 if quick else TURNS)
        return [*figures, *_whole(folder, size)]


def _turns(folder: Path, size: int, turns: int) -> list[Figure]:
    """Compare with the peer on a text that takes seconds, so that both run in the same minutes."""
    text = folder / "turn.txt"
    write_corpus(text, size)
    ratios: dict[str, list[float]] = {"gentle": [], "off": []}
    seconds: dict[str, list[float]] = {"gentle": [], "off": [], "peer": []}
    for _ in range(turns):
        peer = fresh(encode_only, text, folder / "tokenizer.json").value
        seconds["peer"].append(peer)
        for mode, found in ratios.items():
            ours = fresh(prepare_text, text, folder, mode).seconds
            seconds[mode].append(ours)
            found.append(ours / peer)
    text.unlink()
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        Figure(
            f"preparing {size / 1e6:,.0f} MB, cleaning {mode}, against encoding it by tiktoken",
            f"{middle[mode]:.1f} s",
            f"{middle['peer']:.1f} s",
            statistics.median(ratios[mode]),
            "at most 1.3x the peer's time",
            statistics.median(ratios[mode]) <= 1.3,
        )
        for mode in ratios
    ]


def _whole(folder: Path, size: int) -> list[Figure]:
    text = folder / "corpus.txt"
    write_corpus(text, size)
    peer = fresh(encode_only, text, folder / "tokenizer.json").value
    ours: Fresh = fresh(prepare_text, text, folder, "gentle")
    text.unlink()
    megabytes = ours.peak_bytes / 1e6
    return [
        Figure(
            f"preparing {size / 1e6:,.0f} MB, cleaning gentle, against encoding it by tiktoken",
            f"{ours.seconds:.1f} s",
            f"{peer:.1f} s",
            ours.seconds / peer,
            "at most 1.3x the peer's time",
            ours.seconds / peer <= 1.3,
        ),
        Figure(
            f"peak memory of preparing {size / 1e6:,.0f} MB",
            f"{megabytes:.0f} MB, {ours.own_bytes / 1e6:.0f} MB of it its own",
            mark="under 600 MB",
            reached=megabytes < 600,
        ),
    ]


def prepare_text(text: Path, folder: Path, mode: str) -> int:
    """Prepare a text in a separate cache, with the vocabulary in `folder`; return its number of training tokens."""
    os.environ["GLASSGPT_CACHE"] = str(folder / "cache")
    config = RunConfig(
        corpus=CorpusConfig(sources=(str(text),)),
        cleaning=CleaningConfig(mode=mode),  # type: ignore[arg-type]
        tokenizer=TokenizerConfig(name=str(folder / "tokenizer.json")),
    )
    tokens = len(prepare_data(config).shards.split("train"))
    shutil.rmtree(folder / "cache")
    return tokens


def encode_only(text: Path, tokenizer: Path) -> float:
    """Return the seconds that tiktoken takes for the documents of a text, in groups held in memory."""
    encoding = FastTokenizer.from_file(tokenizer)._encoder.encoding  # type: ignore[attr-defined]
    seconds, characters, group = 0.0, 0, []
    for document in read_text(text):
        group.append(document.text)
        characters += len(document.text)
        if characters >= GROUP_CHARACTERS:
            seconds += _seconds_to_encode(encoding, group)
            characters, group = 0, []
    return seconds + _seconds_to_encode(encoding, group)


def _seconds_to_encode(encoding, texts: list[str]) -> float:
    began = time.perf_counter()
    encoding.encode_ordinary_batch(texts, num_threads=THREADS)
    return time.perf_counter() - began


def _make_vocabulary(path: Path) -> None:
    lines = fairytales().splitlines(keepends=True)
    train_tokenizer(iter(lines), TokenizerConfig(vocab_size=VOCABULARY)).save(path)
