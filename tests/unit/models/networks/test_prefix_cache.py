"""kept: a prefix stays while batches use it, and the memory has a bound."""

import numpy as np

from models.networks.prefix_cache import CachedPrefix, PrefixCache


def prefix(first: int, length: int = 10) -> CachedPrefix:
    return CachedPrefix(np.arange(first, first + length, dtype=np.int32), [])


def firsts(kept: PrefixCache) -> list[int]:
    return sorted(int(each.ids[0]) for each in kept.offer())


def test_a_prefix_that_is_used_stays() -> None:
    kept = PrefixCache(max_idle_batches=2)
    one = prefix(0)
    kept.add(one)
    for _ in range(5):
        kept.note_used([one])

    assert firsts(kept) == [0]


def test_a_prefix_that_no_batch_used_for_long_is_dropped() -> None:
    kept = PrefixCache(max_idle_batches=2)
    kept.add(prefix(0))
    for _ in range(3):
        kept.note_used([])

    assert firsts(kept) == []


def test_the_longest_idle_makes_room() -> None:
    kept = PrefixCache(max_tokens=20)
    used, idle = prefix(0), prefix(100)
    kept.add(idle)
    kept.add(used)
    kept.note_used([used])

    kept.add(prefix(200))

    assert firsts(kept) == [0, 200]


def test_the_same_ids_are_kept_once() -> None:
    kept = PrefixCache()
    kept.add(prefix(0))
    kept.add(prefix(0))

    assert firsts(kept) == [0]


def test_a_prefix_over_the_bound_is_not_kept() -> None:
    kept = PrefixCache(max_tokens=5)
    kept.add(prefix(0))

    assert kept.offer() == []
