"""Tokenizing compared with its libraries: learning merges, and encoding with a given vocabulary."""

from __future__ import annotations

import os

from benchmarks.measure import alternate
from benchmarks.report import Figure
from benchmarks.texts import fairytales
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.engines import TiktokenEncoder
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_bpe_in_rust

MERGES, QUICK_MERGES = 8192, 512
DOCUMENT = 10_000  # characters
THREADS = os.cpu_count() or 1


def run(quick: bool) -> list[Figure]:
    """Measure learning and encoding."""
    text = fairytales()[: 200_000 if quick else None]
    rounds = 1 if quick else 5
    return [learning(text, QUICK_MERGES if quick else MERGES, rounds), *encoding(text, rounds)]


def learning(text: str, merges: int, rounds: int) -> Figure:
    """Compare the from-scratch trainer with the Rust one, both on lines (the Rust one's best case)."""
    lines, size = text.splitlines(keepends=True), merges + 257
    ours = BPETokenizer.train(lines, vocab_size=size)
    assert ours.merges == train_bpe_in_rust(lines, vocab_size=size).merges
    seconds = alternate(
        {
            "python": lambda: BPETokenizer.train(lines, vocab_size=size),
            "rust": lambda: train_bpe_in_rust(lines, vocab_size=size),
        },
        rounds=rounds,
    )
    ratio = seconds["python"] / seconds["rust"]
    return Figure(
        f"learning {merges:,} merges of {len(text) / 1e6:.1f} million characters, Python against Rust",
        f"{seconds['python']:.2f} s",
        f"{seconds['rust']:.2f} s",
        ratio,
        "at most 15x the peer's time",
        ratio <= 15,
    )


def encoding(text: str, rounds: int) -> list[Figure]:
    """Compare the default engine with tiktoken, on one long text and on many documents."""
    json = train_bpe_in_rust(text.splitlines(keepends=True), vocab_size=8192).to_json()
    tokenizer = FastTokenizer.from_json(json)
    encoder = tokenizer._encoder
    assert isinstance(encoder, TiktokenEncoder)
    tiktoken = encoder.encoding
    documents = [text[start : start + DOCUMENT] for start in range(0, len(text), DOCUMENT)]
    assert tokenizer.encode(text) == tiktoken.encode_ordinary(text)
    assert tokenizer.encode_batch(documents) == tiktoken.encode_ordinary_batch(documents)

    seconds = alternate(
        {
            "one, peer": lambda: tiktoken.encode_ordinary(text),
            "one": lambda: tokenizer.encode(text),
            "many, peer": lambda: tiktoken.encode_ordinary_batch(documents, num_threads=THREADS),
            "many": lambda: tokenizer.encode_batch(documents),
            "arrays": lambda: tokenizer.encode_arrays(documents),
        },
        rounds=rounds,
    )
    one, many = "tiktoken.encode_ordinary", f"tiktoken.encode_ordinary_batch, {THREADS} threads"
    million = len(text.encode()) / 1e6
    compared = (
        ("one long text", "one", "one, peer", one),
        ("documents", "many", "many, peer", many),
        ("documents as arrays", "arrays", "many, peer", many),
    )
    return [
        Figure(
            f"encoding {what}, against {peer_name}",
            f"{million / seconds[ours]:.1f} MB/s",
            f"{million / seconds[peer]:.1f} MB/s",
            seconds[peer] / seconds[ours],
            "not slower, give or take 3%",
            seconds[peer] >= 0.97 * seconds[ours],
        )
        for what, ours, peer, peer_name in compared
    ]
