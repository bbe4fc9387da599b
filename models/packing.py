"""Sorts lists of token ids by common prefix, and packs a batch so that it holds each prefix once. Pure: no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from models.interface import Ids
from models.prefix_trie import FREE, Node, SharingCosts, grow, prune

Indexes = NDArray[np.int64]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PrefixOrder:
    """Inputs in the order in which they run.

    order: `order[i]` is the index in the request of the i-th input to run.
    shared: how many leading tokens each input has in common with the one before it; 0 for the first.
    tokens: as `usage` counts them, every input in full, shared prefixes included.
    """

    ids: tuple[Ids, ...]
    order: NDArray[np.intp]
    shared: NDArray[np.int32]
    tokens: int


def sort_by_prefix(ids: Sequence[Ids]) -> PrefixOrder:
    """Sort inputs by their ids, so that inputs with a common prefix run one after another."""
    keys = _sort_keys(ids)
    order = sorted(range(len(ids)), key=keys.__getitem__)
    in_order = tuple(ids[index] for index in order)
    shared, tokens = np.zeros(len(ids), dtype=np.int32), sum(map(len, in_order))
    if len(ids) > 1:
        lengths = np.array([len(input_ids) for input_ids in in_order], dtype=np.int64)
        shared[:] = common_prefixes(np.concatenate(in_order), np.cumsum(lengths) - lengths, lengths)
    return PrefixOrder(in_order, np.array(order, dtype=np.intp), shared, tokens)


# Most neighbours differ within so few tokens; of all pairs together, so many tokens are compared at a time.
FIRST_COMPARED, MOST_COMPARED = 8, 65536


def common_prefixes(ids: Ids, starts: Indexes, lengths: Indexes) -> Indexes:
    """How many leading tokens each item has in common with the one before it, [n]; 0 for the first.

    Args:
        ids: the items one after another.
        starts: where each item starts, [n].
        lengths: of each item, [n].
    """
    common = np.zeros(len(starts), dtype=np.int64)
    # Pairs whose first tokens are equal so far are compared further, twice as far each time.
    most = np.minimum(lengths[1:], lengths[:-1])
    pairs, done, width = np.flatnonzero(most) + 1, 0, FIRST_COMPARED
    while len(pairs):
        steps = done + np.arange(width)
        places = np.minimum(steps, most[pairs - 1, None] - 1)
        same = ids[starts[pairs, None] + places] == ids[starts[pairs - 1, None] + places]
        same &= steps < most[pairs - 1, None]
        differs = ~same.all(1)
        common[pairs] = done + np.where(differs, same.argmin(1), width)
        pairs, done = pairs[~differs], done + width
        width = min(width * 2, max(MOST_COMPARED // max(len(pairs), 1), FIRST_COMPARED))
    return common


def new_tokens(items: Sequence[Ids]) -> Indexes:
    """How many tokens of each input follow those that it shares with the one before it, [n]."""
    lengths = np.array([len(ids) for ids in items], dtype=np.int64)
    return lengths - common_prefixes(np.concatenate(items), np.cumsum(lengths) - lengths, lengths)


def _sort_key(ids: Ids) -> bytes:
    # Big-endian bytes sort as the ids do.
    return ids.astype(">i4").tobytes()


def _sort_keys(ids: Sequence[Ids]) -> list[bytes]:
    """Those of all items, from one copy of their ids."""
    if not ids:
        return []
    joined = _sort_key(np.concatenate(ids))
    stops = np.cumsum([len(input_ids) for input_ids in ids]) * 4
    return [joined[start:stop] for start, stop in pairwise([0, *stops.tolist()])]


@dataclass(frozen=True, slots=True)
class Segment:
    """The queries of one span of tokens and the keys of that span.

    If both spans have the same length, attention is causal. Otherwise one query sees all the keys.
    """

    queries: Span
    keys: Span


@dataclass(frozen=True, slots=True)
class Branch:
    """Queries that see every key of an earlier span: in this batch (source 0) or in a cached prefix (1, 2, ...)."""

    queries: Span
    keys: Span
    source: int


class Segments(Sequence[Segment]):
    """Segments that are made when they are read, from `spans`, int64 [S, 4]: queries from, to, keys from, to."""

    def __init__(self, spans: Indexes) -> None:
        self.spans = spans

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[Segment]:
        return (Segment((start, stop), (left, right)) for start, stop, left, right in self.spans.tolist())

    @overload
    def __getitem__(self, place: int) -> Segment: ...

    @overload
    def __getitem__(self, place: slice) -> "Segments": ...

    def __getitem__(self, place: int | slice) -> "Segment | Segments":
        if isinstance(place, slice):
            return Segments(self.spans[place])
        start, stop, left, right = self.spans[place].tolist()
        return Segment((start, stop), (left, right))


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """Which keys each query sees: first those of the branches that contain the query, then those of its segment.

    Branches are ordered by their keys: an outer branch comes before the branches inside it.
    """

    segments: Sequence[Segment]
    branches: tuple[Branch, ...]

    @property
    def spans(self) -> Indexes:
        """The segments as int64 [S, 4]: the first query and the end of the queries, the first key and their end."""
        if isinstance(self.segments, Segments):
            return self.segments.spans
        return np.array([(*segment.queries, *segment.keys) for segment in self.segments], dtype=np.int64)

    def at(self, places: Indexes) -> "AttentionLayout":
        """The layout for the queries at `places` (ascending) only, over the keys of all tokens."""
        starts = self.spans[:, 0]
        own = starts[np.searchsorted(starts, places, side="right") - 1]
        numbers = np.arange(len(places))
        spans = np.stack([numbers, numbers + 1, own, places + 1], axis=1)
        branches = []
        for branch in self.branches:
            first, last = np.searchsorted(places, branch.queries).tolist()
            if first < last:
                branches.append(Branch((first, last), branch.keys, branch.source))
        return AttentionLayout(Segments(spans), tuple(branches))


@dataclass(frozen=True, slots=True)
class PrefixForest:
    """One packed batch of T unique tokens.

    tokens, positions: [T].
    ends: the indexes of the tokens that end an item, [E], ascending.
    rows: for each item, its index in `ends`.
    used_prefixes: indexes of the cached prefixes that some item continues.
    cacheable: the span of the prefix that saves the next batch most tokens if it is cached; None if there is none.
    """

    tokens: Ids
    positions: Indexes
    layout: AttentionLayout
    ends: Indexes
    rows: Indexes
    used_prefixes: tuple[int, ...]
    cacheable: Span | None

    def path(self, end: int) -> Indexes:
        """The indexes of the tokens of the item that ends at `end`; not for items that continue a cached prefix."""
        spans = [branch.keys for branch in self.layout.branches if branch.queries[0] <= end < branch.queries[1]]
        starts = self.layout.spans[:, 0]
        own = int(starts[np.searchsorted(starts, end, side="right") - 1])
        return np.concatenate([np.arange(*span) for span in [*spans, (own, end + 1)]])


# A shorter common prefix is not worth caching beyond its batch.
MIN_CACHED_TOKENS = 16


def pack(items: Sequence[Ids], cached: Sequence[Ids] = (), costs: SharingCosts = FREE) -> PrefixForest:
    """Pack a batch as a forest that holds each common prefix once.

    Args:
        items: int32 [n] each, n >= 1; duplicates and prefixes of one another are allowed.
        cached: prefixes whose keys and values the caller still has. The forest does not hold the tokens of a cached
            prefix for the items that continue it.
        costs: prefixes that cost more to share than to compute again are held more than once.
    """
    assert items and all(map(len, items)), "pack() ran on an empty batch or item: this is a bug"
    keys = _sort_keys(items)
    # Equal items get the number of the last of them.
    numbers = {key: number for number, key in enumerate(keys)}
    groups = _by_cached_prefix(sorted(numbers), cached)
    unique = [items[numbers[key]] for _, group in groups for key in group]
    builder = _Builder(unique, costs)
    first = 0
    for source, group in groups:
        builder.add_group(range(first, first + len(group)), len(cached[source - 1]) if source else 0, source)
        first += len(group)
    places = {key: place for place, key in enumerate(key for _, group in groups for key in group)}
    return builder.forest(np.array([places[key] for key in keys]))


def _by_cached_prefix(keys: list[bytes], cached: Sequence[Ids]) -> list[tuple[int, list[bytes]]]:
    """Group sort keys by the source number of the longest cached prefix that they continue; 0 if there is none."""
    if not cached:
        return [(0, keys)]
    prefixes = [(len(ids) * 4, _sort_key(ids), source) for source, ids in enumerate(cached, 1)]
    groups: dict[int, list[bytes]] = {}
    for key in keys:
        fits = [(size, source) for size, prefix, source in prefixes if size < len(key) and key.startswith(prefix)]
        groups.setdefault(max(fits, default=(0, 0))[1], []).append(key)
    return sorted(groups.items())


class _Builder:
    """Builds the forest of one call of pack(), from its unique items in the order in which they are added."""

    def __init__(self, items: Sequence[Ids], costs: SharingCosts) -> None:
        self._costs = costs
        self._ids = np.concatenate(items)
        self._lengths = np.array([len(ids) for ids in items], dtype=np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._common = common_prefixes(self._ids, self._starts, self._lengths).tolist()
        self._all_lengths: list[int] = self._lengths.tolist()
        # For each segment, the item whose tokens it holds and the first of them.
        self._owners: list[int] = []
        self._depths: list[int] = []
        self._ends = [0] * len(items)
        self._branches: list[Branch] = []
        self._length = 0
        self._cacheable: Span | None = None
        self._saved_tokens = 0

    def add_group(self, items: range, start: int, source: int) -> None:
        """Add items that all continue the `start` tokens of cached prefix `source` (0: no prefix)."""
        families = list(self._families(items, start))
        roots = [self._trie(family, start) for family in families]
        if self._costs.per_level:
            prune([root for root in roots if root is not None], self._costs)
        first, place = self._length, len(self._branches)
        for family, root in zip(families, roots, strict=True):
            self._add_family(family, root, start)
        if source:
            self._branches.insert(place, Branch((first, self._length), (0, start), source))

    def _families(self, items: range, start: int) -> Iterator[range]:
        """The items that share tokens with their neighbours beyond `start`, and those that are alone."""
        first = items.start
        for stop in range(items.start + 1, items.stop + 1):
            if stop == items.stop or self._common[stop] <= start:
                yield range(first, stop)
                first = stop

    def _trie(self, family: range, start: int) -> Node | None:
        if len(family) == 1:
            return None
        lengths, common = (values[family.start : family.stop] for values in (self._all_lengths, self._common))
        return grow(lengths, common, start, self._costs)

    def _add_family(self, family: range, root: Node | None, start: int) -> None:
        first = family.start
        if root is None:
            self._append(first, start)
            self._ends[first] = self._length - 1
            return
        for child in root.children:
            self._add_segment(child, start, first)

    def forest(self, rows: Indexes) -> PrefixForest:
        owners, depths = np.array(self._owners), np.array(self._depths)
        lengths = self._lengths[owners] - depths
        stops = np.cumsum(lengths)
        starts = stops - lengths
        places = np.arange(self._length) - np.repeat(starts - depths, lengths)
        tokens = self._ids[places + np.repeat(self._starts[owners], lengths)]
        ends = np.array(self._ends)
        by_end = np.argsort(ends)
        numbers = np.empty_like(by_end)
        numbers[by_end] = np.arange(len(ends))
        layout = AttentionLayout(Segments(np.stack([starts, stops, starts, stops], axis=1)), tuple(self._branches))
        used_prefixes = tuple(branch.source - 1 for branch in self._branches if branch.source)
        return PrefixForest(tokens, places, layout, ends[by_end], numbers[rows], used_prefixes, self._cacheable)

    def _add_segment(self, top: Node, depth: int, first: int) -> None:
        # The heaviest child continues the segment, so no token lies under more than log2(T) branches.
        chain = [top]
        while chain[-1].children:
            chain.append(chain[-1].heaviest())
        start = self._length
        self._append(first + chain[-1].item, depth)
        for node in chain:
            if node.is_end:
                self._ends[first + node.item] = start + node.depth - depth - 1
        for node, heavy in pairwise(chain):
            self._add_side_segments(node, heavy, (start, start + node.depth - depth), first)

    def _add_side_segments(self, node: Node, heavy: Node, keys: Span, items: int) -> None:
        sides = [child for child in node.children if child is not heavy]
        first, place = self._length, len(self._branches)
        for side in sides:
            self._add_segment(side, node.depth, items)
        if sides:
            self._branches.insert(place, Branch((first, self._length), keys, 0))
            self._note_cacheable(keys, node.depth, saved_tokens=len(sides) * node.depth)

    def _note_cacheable(self, keys: Span, depth: int, *, saved_tokens: int) -> None:
        is_whole = keys[1] - keys[0] == depth >= MIN_CACHED_TOKENS
        if is_whole and saved_tokens > self._saved_tokens:
            self._saved_tokens, self._cacheable = saved_tokens, keys

    def _append(self, item: int, depth: int) -> None:
        self._owners.append(item)
        self._depths.append(depth)
        self._length += self._all_lengths[item] - depth
