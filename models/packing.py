"""Sorts lists of token ids by common prefix, and packs a batch so that it holds each prefix once. Pure: no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.interface import Ids

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
    order = _ascending([_sort_key(input_ids) for input_ids in ids])
    in_order = tuple(ids[index] for index in order)
    shared = [0, *(common_prefix(before, after) for before, after in pairwise(in_order))]
    tokens = sum(map(len, in_order))
    return PrefixOrder(in_order, np.array(order, dtype=np.intp), np.array(shared, dtype=np.int32), tokens)


def common_prefix(a: Ids, b: Ids) -> int:
    """How many leading tokens two inputs have in common."""
    length = min(len(a), len(b))
    if length == 0 or a[0] != b[0]:
        return 0  # most unrelated texts end here, at a tenth of the cost of comparing arrays
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length


def _sort_key(ids: Ids) -> bytes:
    # Big-endian bytes sort as the ids do.
    return ids.astype(">i4").tobytes()


def _ascending(keys: Sequence[bytes]) -> list[int]:
    return sorted(range(len(keys)), key=keys.__getitem__)


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


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """Which keys each query sees: first those of the branches that contain the query, then those of its segment.

    Branches are ordered by their keys: an outer branch comes before the branches inside it.
    """

    segments: tuple[Segment, ...]
    branches: tuple[Branch, ...]

    def at(self, places: Indexes) -> "AttentionLayout":
        """The layout for the queries at `places` (ascending) only, over the keys of all tokens."""
        starts = np.array([segment.queries[0] for segment in self.segments])
        own = starts[np.searchsorted(starts, places, side="right") - 1]
        segments = [Segment((n, n + 1), (int(own[n]), int(place) + 1)) for n, place in enumerate(places)]
        branches = []
        for branch in self.branches:
            first, last = np.searchsorted(places, branch.queries).tolist()
            if first < last:
                branches.append(Branch((first, last), branch.keys, branch.source))
        return AttentionLayout(tuple(segments), tuple(branches))


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
        own = next(segment.queries[0] for segment in reversed(self.layout.segments) if segment.queries[0] <= end)
        return np.concatenate([np.arange(*span) for span in [*spans, (own, end + 1)]])


# A shorter common prefix is not worth caching beyond its batch.
MIN_CACHED_TOKENS = 16


def pack(items: Sequence[Ids], cached: Sequence[Ids] = ()) -> PrefixForest:
    """Pack a batch as a forest that holds each common prefix once.

    Args:
        items: int32 [n] each, n >= 1; duplicates and prefixes of one another are allowed.
        cached: prefixes whose keys and values the caller still has. The forest does not hold the tokens of a cached
            prefix for the items that continue it.
    """
    assert items and all(len(ids) for ids in items), "pack() ran on an empty batch or item: this is a bug"
    keys = [_sort_key(ids) for ids in items]
    unique = {keys[index]: items[index] for index in _ascending(keys)}
    builder = _Builder()
    for source, group in _by_cached_prefix(list(unique), cached):
        start = len(cached[source - 1]) if source else 0
        builder.add_group([unique[key] for key in group], start, source)
    return builder.forest([builder.ends[key] for key in keys])


def _by_cached_prefix(keys: list[bytes], cached: Sequence[Ids]) -> list[tuple[int, list[bytes]]]:
    """Group sort keys by the source number of the longest cached prefix that they continue; 0 if there is none."""
    prefixes = [(len(ids) * 4, _sort_key(ids), source) for source, ids in enumerate(cached, 1)]
    groups: dict[int, list[bytes]] = {}
    for key in keys:
        fits = [(size, source) for size, prefix, source in prefixes if size < len(key) and key.startswith(prefix)]
        groups.setdefault(max(fits, default=(0, 0))[1], []).append(key)
    return sorted(groups.items())


@dataclass(slots=True)
class _Node:
    """A node of the trie, `depth` tokens from the start of an item; `item` is any of those that pass through it."""

    depth: int
    item: Ids
    children: list["_Node"]
    is_end: bool = False
    weight: int = 0  # tokens below this node

    def adopt(self, child: "_Node") -> None:
        self.children.append(child)
        self.weight += child.weight + child.depth - self.depth


def _trie(items: Sequence[Ids], start: int) -> _Node:
    """The compressed trie of sorted unique items from token `start` on; each item is longer than that."""
    root = _Node(start, items[0], [])
    path = [root]
    for before, item in zip([items[0], *items], items, strict=False):
        _close(path, common_prefix(before, item) if item is not items[0] else start)
        path.append(_Node(len(item), item, [], is_end=True))
    _close(path, start)
    return root


def _close(path: list[_Node], depth: int) -> None:
    """Remove the nodes deeper than `depth` from the path, so that it ends at a node of that depth."""
    while path[-1].depth > depth:
        node = path.pop()
        if path[-1].depth < depth:
            path.append(_Node(depth, node.item, []))
        path[-1].adopt(node)


class _Builder:
    """Builds the forest of one call of pack(), segment by segment."""

    def __init__(self) -> None:
        self.ends: dict[bytes, int] = {}
        self._pieces: list[Ids] = []
        self._starts: list[int] = []
        self._segments: list[Segment] = []
        self._branches: list[Branch] = []
        self._length = 0
        self._cacheable: Span | None = None
        self._saved_tokens = 0

    def add_group(self, items: Sequence[Ids], start: int, source: int) -> None:
        """Add items that all continue the `start` tokens of cached prefix `source` (0: no prefix)."""
        first, place = self._length, len(self._branches)
        for child in _trie(items, start).children:
            self._add_segment(child, start)
        if source:
            self._branches.insert(place, Branch((first, self._length), (0, start), source))

    def forest(self, ends: list[int]) -> PrefixForest:
        positions = [np.arange(start, start + len(p)) for start, p in zip(self._starts, self._pieces, strict=True)]
        places, rows = np.unique(np.array(ends, dtype=np.int64), return_inverse=True)
        layout = AttentionLayout(tuple(self._segments), tuple(self._branches))
        tokens = np.concatenate(self._pieces)
        used_prefixes = tuple(branch.source - 1 for branch in self._branches if branch.source)
        return PrefixForest(tokens, np.concatenate(positions), layout, places, rows, used_prefixes, self._cacheable)

    def _add_segment(self, top: _Node, depth: int) -> None:
        # The heaviest child continues the segment, so no token lies under more than log2(T) branches.
        chain = [top]
        while chain[-1].children:
            chain.append(max(chain[-1].children, key=lambda child: child.weight + child.depth))
        start = self._length
        self._append(chain[-1].item[depth:], depth)
        for node in chain:
            if node.is_end:
                self.ends[_sort_key(node.item[: node.depth])] = start + node.depth - depth - 1
        for node, heavy in pairwise(chain):
            self._add_side_segments(node, heavy, (start, start + node.depth - depth))

    def _add_side_segments(self, node: _Node, heavy: _Node, keys: Span) -> None:
        sides = [child for child in node.children if child is not heavy]
        first, place = self._length, len(self._branches)
        for side in sides:
            self._add_segment(side, node.depth)
        if sides:
            self._branches.insert(place, Branch((first, self._length), keys, 0))
            self._note_cacheable(keys, node.depth, saved_tokens=len(sides) * node.depth)

    def _note_cacheable(self, keys: Span, depth: int, *, saved_tokens: int) -> None:
        is_whole = keys[1] - keys[0] == depth >= MIN_CACHED_TOKENS
        if is_whole and saved_tokens > self._saved_tokens:
            self._saved_tokens, self._cacheable = saved_tokens, keys

    def _append(self, tokens: Ids, depth: int) -> None:
        span = (self._length, self._length + len(tokens))
        self._pieces.append(tokens)
        self._starts.append(depth)
        self._segments.append(Segment(span, span))
        self._length = span[1]
