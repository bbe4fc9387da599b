"""A batch of token id lists -> a forest: what they begin with in common is laid out once. Pure: numpy, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.interface import Ids

Indexes = NDArray[np.int64]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """Queries that see their own keys: causally if both stretches have one length, else one query that sees all."""

    queries: Span
    keys: Span


@dataclass(frozen=True, slots=True)
class Branch:
    """Queries that see every key of a stretch: of this batch (source 0), or of a kept prefix (source 1, 2, ...)."""

    queries: Span
    keys: Span
    source: int


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """Which keys each query sees. Branches are in order: an outer one, whose keys come first, before an inner one."""

    runs: tuple[Segment, ...]
    branches: tuple[Branch, ...]

    def at(self, places: Indexes) -> "AttentionLayout":
        """The layout for the queries at `places` (ascending) alone; the keys are those of all tokens."""
        starts = np.array([run.queries[0] for run in self.runs])
        own = starts[np.searchsorted(starts, places, side="right") - 1]
        runs = [Segment((n, n + 1), (int(own[n]), int(place) + 1)) for n, place in enumerate(places)]
        branches = []
        for branch in self.branches:
            first, last = np.searchsorted(places, branch.queries).tolist()
            if first < last:
                branches.append(Branch((first, last), branch.keys, branch.source))
        return AttentionLayout(tuple(runs), tuple(branches))


@dataclass(frozen=True, slots=True)
class PrefixForest:
    """One packed batch of T unique tokens.

    tokens, positions: [T]. ends: where some item ends, [R], ascending. rows: for each item its index in `ends`.
    used: numbers of the kept prefixes that some item goes on from.
    shared: the beginning that saves most if it is kept for the next batch; a span of tokens, or None.
    """

    tokens: Ids
    positions: Indexes
    layout: AttentionLayout
    ends: Indexes
    rows: Indexes
    used: tuple[int, ...]
    shared: Span | None

    def path(self, end: int) -> Indexes:
        """Every token of the item that ends at `end`, in order; not for items that begin with a kept prefix."""
        spans = [branch.keys for branch in self.layout.branches if branch.queries[0] <= end < branch.queries[1]]
        own = next(run.queries[0] for run in reversed(self.layout.runs) if run.queries[0] <= end)
        return np.concatenate([np.arange(*span) for span in [*spans, (own, end + 1)]])


# A shared beginning shorter than this is not worth remembering beyond its batch.
KEEP_FROM_TOKENS = 16


def pack(items: Sequence[Ids], kept: Sequence[Ids] = ()) -> PrefixForest:
    """Lay a batch out as a forest.

    Args:
        items: int32 [n] each, n >= 1; duplicates and beginnings of one another are welcome.
        kept: prefixes whose keys and values the caller still has; items that begin with one hold its tokens no more.
    """
    assert items and all(len(ids) for ids in items), "pack() ran on an empty batch or item: this is a bug"
    keys = [ids.astype(">i4").tobytes() for ids in items]  # big-endian bytes sort as the ids do
    unique = dict(sorted(zip(keys, items, strict=True), key=_first))
    builder = _Builder()
    for source, group in _by_kept_prefix(list(unique), kept):
        start = len(kept[source - 1]) if source else 0
        builder.add_group([unique[key] for key in group], start, source)
    return builder.forest([builder.ends[key] for key in keys])


def _first(pair: tuple[bytes, Ids]) -> bytes:
    return pair[0]


def _by_kept_prefix(keys: list[bytes], kept: Sequence[Ids]) -> list[tuple[int, list[bytes]]]:
    """Items by the longest kept prefix that they go on from; source 0 holds the others."""
    prefixes = [(len(ids) * 4, ids.astype(">i4").tobytes(), source) for source, ids in enumerate(kept, 1)]
    groups: dict[int, list[bytes]] = {}
    for key in keys:
        fits = [(size, source) for size, prefix, source in prefixes if size < len(key) and key.startswith(prefix)]
        groups.setdefault(max(fits, default=(0, 0))[1], []).append(key)
    return sorted(groups.items())


@dataclass(slots=True)
class _Node:
    """A point of the trie: `depth` tokens from the start, shown by one item that passes through it."""

    depth: int
    item: Ids
    children: list["_Node"]
    is_end: bool = False
    weight: int = 0  # tokens below

    def adopt(self, child: "_Node") -> None:
        self.children.append(child)
        self.weight += child.weight + child.depth - self.depth


def _trie(items: Sequence[Ids], start: int) -> _Node:
    """The compressed trie of sorted unique items, each longer than `start`, from `start` on."""
    root = _Node(start, items[0], [])
    path = [root]
    for before, item in zip([items[0], *items], items, strict=False):
        _close(path, _common(before, item) if item is not items[0] else start)
        path.append(_Node(len(item), item, [], is_end=True))
    _close(path, start)
    return root


def _close(path: list[_Node], depth: int) -> None:
    """Leave every node of the path that is deeper than `depth`, so that the path ends at a node of that depth."""
    while path[-1].depth > depth:
        node = path.pop()
        if path[-1].depth < depth:
            path.append(_Node(depth, node.item, []))
        path[-1].adopt(node)


def _common(one: Ids, other: Ids) -> int:
    if one[0] != other[0]:
        return 0  # most unrelated texts, at a tenth of the price of comparing arrays
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length


class _Builder:
    """Lays tries out run by run; belongs to one call of pack()."""

    def __init__(self) -> None:
        self.ends: dict[bytes, int] = {}
        self._pieces: list[Ids] = []
        self._starts: list[int] = []
        self._runs: list[Segment] = []
        self._branches: list[Branch] = []
        self._length = 0
        self._shared: tuple[int, Span | None] = (0, None)

    def add_group(self, items: Sequence[Ids], start: int, source: int) -> None:
        """Lay out items that all go on from `start` tokens of kept prefix `source` (0: from nothing)."""
        first, place = self._length, len(self._branches)
        for child in _trie(items, start).children:
            self._add_run(child, start)
        if source:
            self._branches.insert(place, Branch((first, self._length), (0, start), source))

    def forest(self, ends: list[int]) -> PrefixForest:
        positions = [np.arange(start, start + len(p)) for start, p in zip(self._starts, self._pieces, strict=True)]
        places, rows = np.unique(np.array(ends, dtype=np.int64), return_inverse=True)
        layout = AttentionLayout(tuple(self._runs), tuple(self._branches))
        tokens = np.concatenate(self._pieces)
        used = tuple(branch.source - 1 for branch in self._branches if branch.source)
        return PrefixForest(tokens, np.concatenate(positions), layout, places, rows, used, self._shared[1])

    def _add_run(self, top: _Node, depth: int) -> None:
        # The heaviest child goes on in the run, so no token lies under more than log2(T) branches.
        chain = [top]
        while chain[-1].children:
            chain.append(max(chain[-1].children, key=lambda child: child.weight + child.depth))
        start = self._length
        self._append(chain[-1].item[depth:], depth)
        for node in chain:
            if node.is_end:
                self.ends[node.item[: node.depth].astype(">i4").tobytes()] = start + node.depth - depth - 1
        for node, heavy in pairwise(chain):
            self._add_side_runs(node, heavy, (start, start + node.depth - depth))

    def _add_side_runs(self, node: _Node, heavy: _Node, keys: Span) -> None:
        sides = [child for child in node.children if child is not heavy]
        first, place = self._length, len(self._branches)
        for side in sides:
            self._add_run(side, node.depth)
        if sides:
            self._branches.insert(place, Branch((first, self._length), keys, 0))
            self._note_shared(len(sides) * node.depth, keys, node.depth)

    def _note_shared(self, saved: int, keys: Span, depth: int) -> None:
        whole = keys[1] - keys[0] == depth >= KEEP_FROM_TOKENS
        if whole and saved > self._shared[0]:
            self._shared = (saved, keys)

    def _append(self, tokens: Ids, depth: int) -> None:
        span = (self._length, self._length + len(tokens))
        self._pieces.append(tokens)
        self._starts.append(depth)
        self._runs.append(Segment(span, span))
        self._length = span[1]


@dataclass(frozen=True, slots=True)
class PrefixOrder:
    """Inputs in running order. `order[i]` is the place in the request of the i-th to run; `shared` as in link.Work."""

    ids: tuple[Ids, ...]
    order: NDArray[np.intp]
    shared: NDArray[np.int32]


def sort_by_prefix(ids: Sequence[Ids]) -> PrefixOrder:
    """Sort inputs by their ids and count what each shares with the one before it."""
    # Big-endian bytes sort as the ids do.
    keys = [one.astype(">i4").tobytes() for one in ids]
    order = sorted(range(len(ids)), key=keys.__getitem__)
    in_order = tuple(ids[place] for place in order)
    shared = [0, *(_common_prefix(before, after) for before, after in pairwise(in_order))]
    return PrefixOrder(in_order, np.array(order, dtype=np.intp), np.array(shared, dtype=np.int32))


def _common_prefix(one: Ids, other: Ids) -> int:
    count = min(len(one), len(other))
    differ = one[:count] != other[:count]
    return int(differ.argmax()) if differ.any() else count
