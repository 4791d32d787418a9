"""Kept beginnings: the longest common one, the least used first to go, never beyond the limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glassgpt.generation.prefixes import MOST, SHORTEST, Prefixes
from glassgpt.model.cache import KVCache
from glassgpt.model.config import ModelConfig

CONFIG = ModelConfig(vocab_size=9, context_length=40, n_layer=1, n_head=1, n_embd=2)
TOKEN = 16  # bytes: a key and a value of two float32 numbers


def cache_of(ids: list[int]) -> KVCache:
    cache = KVCache(CONFIG, batch_size=1, capacity=len(ids))
    cache.length = len(ids)
    return cache


def common(one: list[int], other: list[int]) -> int:
    return next(
        (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=40), max_size=20), st.integers(0, 900))
def test_the_longest_common_beginning_is_found(texts: list[list[int]], limit: int) -> None:
    """Against the plain way: compare with every text that was kept."""
    prefixes, kept = Prefixes(limit, 40), {}
    for text in texts:
        cache, length = prefixes.longest(text)
        held = [ids for ids, known in kept.items() if any(known is each for each in prefixes._caches)]
        best = max((common(list(ids), text[:-1]) for ids in held), default=0)
        assert length == (best if best >= SHORTEST else 0)
        if length:
            assert cache is not None
            (ids,) = [ids for ids, known in kept.items() if known is cache]
            assert common(list(ids), text[:-1]) == length
        made = cache_of(text)
        prefixes.keep(text, lambda made=made: made)
        kept.setdefault(tuple(text), made) if any(made is each for each in prefixes._caches) else None
        assert prefixes.size == sum(TOKEN * each.length for each in prefixes._caches if each) <= limit


def test_the_least_used_goes_first() -> None:
    prefixes = Prefixes(2**30, 40)
    texts = [[number // 9, number % 9, *range(8)] for number in range(MOST + 1)]
    for text in texts[:-1]:
        prefixes.keep(text, lambda text=text: cache_of(text))
    assert prefixes.longest([*texts[0], 1])[1] == 10
    prefixes.keep(texts[-1], lambda: cache_of(texts[-1]))
    lengths = [prefixes.longest([*text, 1])[1] for text in texts]
    assert lengths == [10, 0, *[10] * (MOST - 1)]


def test_what_is_known_is_not_made_again() -> None:
    prefixes = Prefixes(2**30, 40)
    text = list(range(9))
    prefixes.keep([*text, 1], lambda: cache_of([*text, 1]))

    def fail() -> KVCache:
        raise AssertionError

    prefixes.keep(text, fail)
    prefixes.keep([*text, 1], fail)
    prefixes.keep(text[: SHORTEST - 1], fail)
    prefixes.keep([*text, 1, 2], lambda: cache_of([*text, 1, 2]))
    assert prefixes.size == 11 * TOKEN  # the longer one holds the shorter one, too
