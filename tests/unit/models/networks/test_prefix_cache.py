"""The prefix cache keeps a prefix while batches use it, and its memory has a bound."""

import numpy as np

from models.networks.prefix_cache import CachedPrefix, PrefixCache


def prefix(first: int, length: int = 10) -> CachedPrefix:
    return CachedPrefix(np.arange(first, first + length, dtype=np.int32), [])


def first_ids(cache: PrefixCache) -> list[int]:
    return sorted(int(prefix.ids[0]) for prefix in cache.prefixes())


def test_a_prefix_that_is_used_stays() -> None:
    cache = PrefixCache(max_idle_batches=2)
    cached = prefix(0)
    cache.add(cached)
    for _ in range(5):
        cache.note_used([cached])

    assert first_ids(cache) == [0]


def test_a_prefix_that_no_batch_used_for_long_is_dropped() -> None:
    cache = PrefixCache(max_idle_batches=2)
    cache.add(prefix(0))
    for _ in range(3):
        cache.note_used([])

    assert first_ids(cache) == []


def test_the_longest_idle_makes_room() -> None:
    cache = PrefixCache(max_tokens=20)
    used, idle = prefix(0), prefix(100)
    cache.add(idle)
    cache.add(used)
    cache.note_used([used])

    cache.add(prefix(200))

    assert first_ids(cache) == [0, 200]


def test_the_same_ids_are_cache_once() -> None:
    cache = PrefixCache()
    cache.add(prefix(0))
    cache.add(prefix(0))

    assert first_ids(cache) == [0]


def test_a_prefix_over_the_bound_is_not_cache() -> None:
    cache = PrefixCache(max_tokens=5)
    cache.add(prefix(0))

    assert cache.prefixes() == []
