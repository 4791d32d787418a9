"""Learning merges: join the most frequent pair of neighbours, again and again.

This is the core of byte-pair encoding (Sennrich, Haddow and Birch 2016, algorithm 1), shared by BPE and
WordPiece. Counting all pairs again for each merge would take hours; here a merge touches only the words
that contain it:

- equal words are stored once, with their count as a weight;
- a word is a string with one character for each id, so that Python's fast string search finds a pair in
  it; a pair is a string of two;
- `totals` holds how often each pair occurs, updated when a merge changes a word;
- `places` holds the words in which each pair may occur;
- a heap offers the most frequent pair. Its entries may be out of date, but are never too low; an outdated
  entry is pushed back with its true count (lazy deletion).

Ties go to the pair with the smaller ids, so the result depends only on the counts. Hugging Face's trainer
uses the same order and learns the same merges.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping
from operator import add

Pair = tuple[int, int]
MERGES_BETWEEN_NEWS = 64


def learn_merges(
    words: Mapping[tuple[int, ...], int],
    *,
    first_id: int,
    most: int,
    min_frequency: int = 1,
    learned: Callable[[int], None] = lambda _: None,
) -> list[Pair]:
    """Return up to `most` pairs of ids in the order of merging; the n-th gets the id `first_id + n`.

    `words` maps each word, as ids below `first_id`, to its number of occurrences. Stops early when no pair
    occurs `min_frequency` times. Memory grows with the distinct words, not with the text; time grows with the
    square of a word's length, so long words must be cut first. `learned` is called with the number of merges so far.
    """
    spelled, weights = ["".join(map(chr, word)) for word in words], list(words.values())
    totals, places = _count_pairs(spelled, weights)
    heap = [(-total, pair) for pair, total in totals.items()]
    heapq.heapify(heap)
    merges: list[str] = []
    while heap and len(merges) < most:
        offered, pair = heapq.heappop(heap)
        total = totals[pair]
        if total != -offered:
            heapq.heappush(heap, (-total, pair))
            continue
        if total < max(min_frequency, 1):
            break
        if len(merges) % MERGES_BETWEEN_NEWS == 0:
            learned(len(merges))
        new = chr(first_id + len(merges))
        merges.append(pair)
        born: defaultdict[str, int] = defaultdict(int)
        for index in dict.fromkeys(places.pop(pair)):
            fresh = _merge_in_word(spelled, index, pair, new, weights[index], totals)
            for neighbours in fresh:
                born[neighbours] += weights[index]
                places[neighbours].append(index)
        for neighbours, count in born.items():
            totals[neighbours] += count
            heapq.heappush(heap, (-totals[neighbours], neighbours))
    return [(ord(left), ord(right)) for left, right in merges]


def _count_pairs(
    spelled: list[str], weights: list[int]
) -> tuple[defaultdict[str, int], defaultdict[str, list[int]]]:
    """Return how often each pair occurs, and in which words. "aaa" contains the pair "aa" twice."""
    totals: defaultdict[str, int] = defaultdict(int)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, (word, weight) in enumerate(zip(spelled, weights, strict=True)):
        for pair in map(add, word, word[1:]):
            totals[pair] += weight
            places[pair].append(index)
    return totals, places


def _merge_in_word(
    spelled: list[str], index: int, pair: str, new: str, weight: int, totals: defaultdict[str, int]
) -> list[str]:
    """Replace `pair` with `new` in a word from left to right, subtract the pairs this removes, return the new pairs.

    A pair that one replacement makes and the next one removes, as in "abab", is among those returned; it is
    also subtracted, so its count is right.
    """
    left, right = pair
    fresh: list[str] = []
    done = ""
    before, found, rest = spelled[index].partition(pair)
    while found:
        done += before + new
        if len(done) > 1:
            totals[done[-2] + left] -= weight
            fresh.append(done[-2:])
        if rest:
            totals[right + rest[0]] -= weight
            fresh.append(new + rest[0])
        before, found, rest = rest.partition(pair)
    spelled[index] = done + before
    return fresh
