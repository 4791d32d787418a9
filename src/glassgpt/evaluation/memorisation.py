"""Memorisation: does the model's own text occur in its training text, word for word?

A low loss can come from memorising. Two numbers show it:

- the share of samples with 13 words in a row that occur in the training text. From this length on, GPT-3's authors
  did not call an overlap an accident (Brown et al., 2020, appendix C). Texts of one kind do share such runs, though.
  So the same is counted for pieces of the held-out text, which cannot have been memorised, and only the excess over
  *that* is memorised;
- the longest run of tokens of any sample that occurs in the training text.

How it is found. A run of n tokens is identified by its polynomial hash, computed for all places of a text at once:
with prefix sums P(i) = sum_{j<i} t_j B^j, the run at i has the hash (P(i+n) - P(i)) B^-i, in arithmetic modulo 2^64,
where every odd B has an inverse (Karp and Rabin, 1987). The training text is read in blocks, so memory stays at a few
megabytes for any size. Each equal hash is checked against the real tokens, so the result is exact. The longest run is
found by bisection: where a run of n tokens occurs in the text, shorter ones do, too. That takes about eight passes
over the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from glassgpt.dataset.shards import TokenSplit
from glassgpt.errors import EvaluationError
from glassgpt.evaluation.score import Score, Subject, share_of
from glassgpt.generation.engines import steady_for
from glassgpt.generation.text import GenerationConfig
from glassgpt.tokenizers.fast import FastTokenizer

WORDS = 13
BLOCK = 1 << 20
"""Tokens of the training text in one block."""
MOST_TOKENS = 200
BASE = 0x9E3779B97F4A7C15
"""Any large odd number works."""

Ids = np.ndarray


def memorisation(subject: Subject) -> Score:
    """Let the run write without a prompt, and return the share of its texts with 13 words of the training text.

    Chance is the same share for pieces of the held-out text, equal in number and length. Raises `EvaluationError`
    where the model never writes 13 words.
    """
    run, texts = subject.run, subject.texts()
    settings = GenerationConfig(temperature=0.8, max_tokens=MOST_TOKENS, seed=subject.seed)
    engine = steady_for(subject.samples * MOST_TOKENS)
    samples = [
        np.array(run.tokenizer.encode(text))
        for text in run.complete("", settings, count=subject.samples, engine=engine)
    ]
    spans = [word_spans(ids, run.tokenizer) for ids in samples]
    if not any(spans):
        raise EvaluationError(
            f"The run wrote no text of {WORDS} words, so there is nothing to look for in its training text."
        )
    found = samples_with_spans(samples, spans, texts.training)
    value, error = share_of(found)
    pieces = pieces_of(texts.held_out, [len(ids) for ids in samples], subject.seed)
    usual = samples_with_spans(pieces, [word_spans(ids, run.tokenizer) for ids in pieces], texts.training)
    longest = longest_run(samples, texts.training)
    details = {
        "longest run, tokens": len(longest),
        "longest run, characters": len(run.tokenizer.decode(longest.tolist())),
        "longest run of held-out text, tokens": len(longest_run(pieces, texts.training)),
    }
    measures = f"samples with {WORDS} words of the training text"
    chance = share_of(usual)[0] if usual else None
    return Score("memorisation", measures, value, chance, error, len(samples), details)


def word_spans(ids: Ids, tokenizer: FastTokenizer, words: int = WORDS) -> list[tuple[int, int]]:
    """Return where each run of `words` words begins and ends, in tokens, separators included.

    A word begins at a token that is not only white space, and that begins with white space or follows some.
    """
    shown = [tokenizer.token_bytes(int(id)) for id in ids]
    starts = [
        place
        for place, text in enumerate(shown)
        if text.strip() and (place == 0 or text[:1].isspace() or not shown[place - 1].strip()
                             or shown[place - 1][-1:].isspace())
    ]  # fmt: skip
    ends = [*starts[words:], len(ids)]
    return list(zip(starts, ends, strict=False)) if len(starts) >= words else []


def pieces_of(split: TokenSplit, lengths: Sequence[int], seed: int) -> list[Ids]:
    """Return pieces of a split, of the given lengths, from random places."""
    random = np.random.default_rng(seed)
    fitting = [length for length in lengths if 0 < length <= len(split)]
    return [split.read(int(random.integers(len(split) - length + 1)), length) for length in fitting]


def samples_with_spans(
    samples: Sequence[Ids], spans: Sequence[Sequence[tuple[int, int]]], text: TokenSplit
) -> list[bool]:
    """Return for each sample whether one of its spans occurs in the text."""
    runs = [
        Run(index, ids[start:end])
        for index, (ids, places) in enumerate(zip(samples, spans, strict=True))
        for start, end in places
    ]
    found = {run.sample for run in runs_in(runs, text)}
    return [index in found for index in range(len(samples))]


def longest_run(samples: Sequence[Ids], text: TokenSplit) -> Ids:
    """Return the longest run of tokens of any sample that occurs in the text; the first of several."""
    least, most = 0, max(map(len, samples), default=0)
    longest = np.empty(0, np.int64)
    while least < most:
        length = (least + most + 1) // 2
        runs = [
            Run(index, ids[start : start + length])
            for index, ids in enumerate(samples)
            for start in range(len(ids) - length + 1)
        ]
        found = next(iter(runs_in(runs, text)), None)
        if found is None:
            most = length - 1
        else:
            least, longest = length, found.ids
    return longest


@dataclass(frozen=True, slots=True)
class Run:
    """Some tokens in a row, and the number of their sample."""

    sample: int
    ids: Ids


def runs_in(runs: Sequence[Run], text: TokenSplit) -> Iterator[Run]:
    """Yield the runs that occur in a text, each once, in one pass over it."""
    reach = max((len(run.ids) for run in runs), default=1)
    most = min(BLOCK, len(text)) + reach
    powers, inverse_powers = _powers(BASE, most), _powers(pow(BASE, -1, 1 << 64), most)
    sought: dict[int, dict[int, list[Run]]] = {}
    for run in runs:
        hash_ = int(_prefix_sums(run.ids, powers)[-1])
        sought.setdefault(len(run.ids), {}).setdefault(hash_, []).append(run)
    for block in blocks(text, reach, BLOCK):
        sums = _prefix_sums(block, powers)
        for length, by_hash in sought.items():
            if length <= len(block):
                hashes = (sums[length:] - sums[:-length]) * inverse_powers[: len(sums) - length]
                yield from _take_found(by_hash, hashes, block, length)
        if not any(sought.values()):
            return


def _take_found(by_hash: dict[int, list[Run]], hashes: np.ndarray, block: Ids, length: int) -> list[Run]:
    """Return the runs whose tokens occur in the block, and remove them from those still searched for."""
    found = []
    for place in _places_of(by_hash, hashes):
        alike = by_hash.get(int(hashes[place]), [])
        same = [run for run in alike if np.array_equal(run.ids, block[place : place + length])]
        if same:
            found += same
            left = [run for run in alike if not np.array_equal(run.ids, same[0].ids)]
            by_hash[int(hashes[place])] = left
            if not left:
                del by_hash[int(hashes[place])]
    return found


def _places_of(by_hash: dict[int, list[Run]], hashes: np.ndarray) -> list[int]:
    """Return the places whose hash may be one of those searched for: a table of the first bits rules out most."""
    marked = np.zeros(1 << 20, bool)
    marked[np.fromiter(by_hash, np.uint64, len(by_hash)) >> np.uint64(44)] = True
    return np.flatnonzero(marked[hashes >> np.uint64(44)]).tolist()


def blocks(text: TokenSplit, overlap: int, size: int) -> Iterator[Ids]:
    """Yield a text in blocks; each begins with the last `overlap` - 1 tokens of the one before."""
    start = 0
    while start < len(text):
        yield text.read(start, min(size + overlap - 1, len(text) - start))
        start += size


def _prefix_sums(ids: Ids, powers: np.ndarray) -> np.ndarray:
    """Return P, uint64 (N + 1,), modulo 2^64; the last is the hash of all ids."""
    sums = np.zeros(len(ids) + 1, np.uint64)
    # + 1, so that a token 0 counts.
    np.cumsum((ids.astype(np.uint64) + np.uint64(1)) * powers[: len(ids)], dtype=np.uint64, out=sums[1:])
    return sums


def _powers(base: int, count: int) -> np.ndarray:
    """Return base^0, base^1, ... modulo 2^64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)
