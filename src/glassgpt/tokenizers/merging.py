"""Learning merges: join the most frequent pair of neighbours, again and again.

This is the heart of byte-pair encoding (Sennrich, Haddow and Birch 2016, algorithm 1), shared by BPE and
WordPiece. Counting all pairs anew for each merge would take hours; here a merge touches only the words that
hold it:

- equal words are counted once and carry their count as a weight;
- `totals` holds how often each pair occurs, mended where a merge changes a word;
- `places` holds in which words each pair may occur;
- a heap offers the most frequent pair. Its entries may be out of date, always too high; one that is goes
  back with its true count (lazy deletion).

Ties go to the pair with the smaller ids, so the result depends on nothing but the counts. Hugging Face's
trainer keeps the same order, and learns the same merges.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

Pair = tuple[int, int]


def learn_merges(
    words: Mapping[tuple[int, ...], int], *, first_id: int, most: int, min_frequency: int = 1
) -> list[Pair]:
    """Return up to `most` pairs of ids in the order of merging; the n-th gets the id `first_id + n`.

    `words` maps each word, as ids below `first_id`, to how often it occurs. Stops early when no pair
    occurs `min_frequency` times. Memory grows with the distinct words, not with the text.
    """
    symbols, weights = [list(word) for word in words], list(words.values())
    totals, places = _count_pairs(symbols, weights)
    heap = [(-total, pair) for pair, total in totals.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < most:
        offered, pair = heapq.heappop(heap)
        total = totals[pair]
        if total != -offered:
            heapq.heappush(heap, (-total, pair))
            continue
        if total < max(min_frequency, 1):
            break
        new = first_id + len(merges)
        merges.append(pair)
        born: set[Pair] = set()
        for index in places.pop(pair):
            fresh = _merge_in_word(symbols[index], pair, new, weights[index], totals)
            born.update(fresh)
            for neighbours in fresh:
                places[neighbours].add(index)
        for neighbours in born:
            heapq.heappush(heap, (-totals[neighbours], neighbours))
    return merges


def _count_pairs(
    symbols: list[list[int]], weights: list[int]
) -> tuple[defaultdict[Pair, int], defaultdict[Pair, set[int]]]:
    """Return how often each pair occurs, and the words it occurs in. "aaa" holds the pair (a, a) twice."""
    totals: defaultdict[Pair, int] = defaultdict(int)
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(symbols):
        for pair in pairwise(word):
            totals[pair] += weights[index]
            places[pair].add(index)
    return totals, places


def _merge_in_word(
    word: list[int], pair: Pair, new: int, weight: int, totals: defaultdict[Pair, int]
) -> list[Pair]:
    """Replace `pair` by `new` in `word` from left to right, mend `totals`, return the pairs this made."""
    left, right = pair
    fresh: list[Pair] = []
    at = -1
    while (at := at + 1) < len(word) - 1:
        if word[at] != left or word[at + 1] != right:
            continue
        if at > 0:
            before = word[at - 1]
            totals[before, left] -= weight
            totals[before, new] += weight
            fresh.append((before, new))
        if at + 2 < len(word):
            after = word[at + 2]
            totals[right, after] -= weight
            totals[new, after] += weight
            fresh.append((new, after))
        word[at : at + 2] = [new]
    return fresh
