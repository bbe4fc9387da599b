"""Attention on CPUs: blocks of queries times all the keys that they see, with scores in float32.

torch's own kernel multiplies at a third of the speed (benchmarks/attention.py), and does not return its scores.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.layers.onednn import float32_products
from models.layers.shape_buckets import padded_block
from models.packing import AttentionLayout, Branch, Segment, Span

KeysValues = tuple[Tensor, Tensor]
SourceSpan = tuple[int, Span]

# The scores of a block must fit the cache. Longer segments are cut; adjacent short ones with the same path are joined.
MAX_BLOCK_QUERIES = 128
MAX_JOINED_KEYS = 64
# With more keys than this a block has fewer queries, so that its scores take no more memory.
FULL_BLOCK_KEYS = 16384
# With more keys than this a block is computed head by head: the scores of one head stay in the cache.
ALL_HEADS_KEYS = 512


@dataclass(frozen=True, slots=True)
class Block:
    """Queries, and the keys of their group that they see.

    `mask`, float32 [q, m], is added to the scores of the last m keys: minus infinity hides a key from a query.
    """

    queries: Span
    keys: Span
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class BlockGroup:
    """Blocks over the same keys: spans of sources, one after another."""

    keys: tuple[SourceSpan, ...]
    blocks: tuple[Block, ...]


class BlockAttention:
    """Implements Attention on CPUs."""

    def __init__(self, layout: AttentionLayout) -> None:
        self._groups = list(forest_blocks(layout))

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        return attend(query, sources, self._groups, query.shape[-1] ** -0.5)


def attend(query: Tensor, sources: Sequence[KeysValues], groups: Sequence[BlockGroup], scale: float) -> Tensor:
    """Attention [Q, N, D] of each block's queries to its keys; zero for queries after the last block.

    Args:
        query: [Q, N, D].
        sources: keys and values of each source, [.., K, D]; K divides N.
        groups: their blocks hold the queries in order, each once, except for those after the last block.
        scale: multiplies each score.
    """
    out = torch.empty(query.shape, dtype=query.dtype)
    out[groups[-1].blocks[-1].queries[1] :].zero_()
    with float32_products(exact=query.dtype == torch.float32):
        for group in groups:
            length = max(block.keys[0] + _padded(block)[1] for block in group.blocks)
            key = _by_head(sources, group.keys, 0, length, torch.float32)
            value = _by_head(sources, group.keys, 1, length, query.dtype)
            attend_blocks(query, key, value, group.blocks, scale, out)
    return out


def attend_blocks(
    query: Tensor, key: Tensor, value: Tensor, blocks: Sequence[Block], scale: float, out: Tensor
) -> None:
    """Write the attention of each block to `out` [Q, N, D].

    Keys in float32 and values, [K, k, D], reach as far as padded_keys() of each block; those after the last are zero.
    """
    for block in blocks:
        (start, stop), first = block.queries, block.keys[0]
        queries, keys = _padded(block)
        rows = _rows(query[start:stop], len(key), queries)
        attended = torch.empty(rows.shape, dtype=value.dtype)
        span = slice(first, first + keys)
        _Heads(block, scale, rows, key[:, span], value[:, span], attended).attend()
        _by_query(out[start:stop], len(key)).copy_(attended[:, : stop - start].transpose(0, 1))


def _padded(block: Block) -> tuple[int, int]:
    return padded_block(block.queries[1] - block.queries[0], block.keys[1] - block.keys[0])


def _by_head(
    sources: Sequence[KeysValues], spans: Sequence[SourceSpan], part: int, length: int, dtype: torch.dtype
) -> Tensor:
    """Spans of keys (`part` 0) or values (1) as [K, length, D]: products of contiguous heads take half the time.

    After the last key come zeros: the value of a hidden key is multiplied by zero, which must not give NaN.
    """
    (_, heads, width), first = sources[0][part].shape, 0
    joined = torch.empty((heads, length, width), dtype=dtype)
    for source, span in spans:
        states = sources[source][part][slice(*span)]
        joined[:, first : first + len(states)].copy_(states.transpose(0, 1))
        first += len(states)
    if first < length:
        joined[:, first:].zero_()
    return joined


def _rows(query: Tensor, groups: int, queries: int) -> Tensor:
    """Queries [n, N, D] in float32, padded with zeros to [K, queries, N / K, D].

    A row is one query and one head of the group: heads of a group share one product, so no key is repeated.
    """
    n = len(query)
    by_query = _by_query(query, groups)
    rows = torch.empty((groups, queries, *by_query.shape[2:]), dtype=torch.float32)
    rows[:, :n].copy_(by_query.transpose(0, 1))
    if n < queries:
        rows[:, n:].zero_()
    return rows


def _by_query(states: Tensor, groups: int) -> Tensor:
    """[n, N, D] as [n, K, N / K, D]."""
    n, heads, width = states.shape
    return states.view(n, groups, heads // groups, width)


class _Heads:
    """Computes a large block, all heads at once or head by head.

    Heads share the memory of scores and weights: fresh memory would take products up to twice the time.
    """

    def __init__(self, block: Block, scale: float, rows: Tensor, key: Tensor, value: Tensor, out: Tensor) -> None:
        """Take the padded queries and the memory for their attention, [K, q, N / K, D], and padded keys, [K, k, D]."""
        (groups, queries, members, _), keys = rows.shape, key.shape[1]
        self._block, self._scale = block, scale
        self._rows, self._key, self._value, self._out = rows.flatten(1, 2), key, value, out.flatten(1, 2)
        self._at_once = groups if keys <= ALL_HEADS_KEYS else 1
        self._scores = torch.empty((self._at_once, queries * members, keys), dtype=torch.float32)
        self._weights = torch.empty_like(self._scores)
        is_float32 = value.dtype == torch.float32
        self._rounded = self._weights if is_float32 else torch.empty(self._scores.shape, dtype=value.dtype)
        self._by_query = self._scores.view(self._at_once, queries, members, keys)

    def attend(self) -> None:
        """Write softmax(rows key^T scale + mask) value."""
        if self._at_once == len(self._rows):
            self._attend(self._rows, self._key, self._value, self._out)
            return
        for head in zip(self._rows, self._key, self._value, self._out, strict=True):
            # Not slices of one head: torch copies those for their stride.
            self._attend(*(states[None] for states in head))

    def _attend(self, rows: Tensor, key: Tensor, value: Tensor, out: Tensor) -> None:
        self._scores.baddbmm_(rows, key.mT, beta=0, alpha=self._scale)
        keys = self._block.keys[1] - self._block.keys[0]
        if keys < key.shape[1]:
            self._scores[..., keys:].fill_(-torch.inf)
        if self._block.mask is not None:
            n, masked = self._block.mask.shape
            self._by_query[:, :n, :, keys - masked : keys].add_(self._block.mask[:, None])
        torch.softmax(self._scores, -1, out=self._weights)
        if self._rounded is not self._weights:
            self._rounded.copy_(self._weights)
        torch.bmm(self._rounded, value, out=out)


def forest_blocks(layout: AttentionLayout) -> Iterator[BlockGroup]:
    """Blocks that hold each query of a forest once: long segments cut, adjacent short ones of one path joined."""
    short: list[Segment] = []
    shared: tuple[SourceSpan, ...] = ()
    for segment, path in _paths(layout):
        if short and not (path == shared and segment.keys[1] - short[0].keys[0] <= MAX_JOINED_KEYS):
            yield _join(short, shared)
            short = []
        if segment.keys[1] - segment.keys[0] <= MAX_JOINED_KEYS:
            short, shared = [*short, segment], path
        elif _is_square(segment):
            yield from _cut(segment, path)
        else:
            yield _group(segment.queries, (*path, (0, segment.keys)), None)
    if short:
        yield _join(short, shared)


def _paths(layout: AttentionLayout) -> Iterator[tuple[Segment, tuple[SourceSpan, ...]]]:
    """Each segment with the spans that it sees through branches."""
    branches, open_ones = list(reversed(layout.branches)), list[Branch]()
    for segment in layout.segments:
        while open_ones and open_ones[-1].queries[1] <= segment.queries[0]:
            open_ones.pop()
        while branches and branches[-1].queries[0] <= segment.queries[0]:
            open_ones.append(branches.pop())
        yield segment, tuple((branch.source, branch.keys) for branch in open_ones)


def _group(queries: Span, keys: tuple[SourceSpan, ...], mask: Tensor | None) -> BlockGroup:
    """A block that sees all the keys of its group."""
    return BlockGroup(keys, (Block(queries, (0, _length(keys)), mask),))


def _length(keys: Sequence[SourceSpan]) -> int:
    return sum(last - first for _, (first, last) in keys)


def _join(segments: Sequence[Segment], path: tuple[SourceSpan, ...]) -> BlockGroup:
    first, keys = segments[0].queries[0], (segments[0].keys[0], max(segment.keys[1] for segment in segments))
    sees = np.zeros((segments[-1].queries[1] - first, keys[1] - keys[0]), dtype=bool)
    for segment in segments:
        (start, stop), (left, right) = segment.queries, (key - keys[0] for key in segment.keys)
        sees[start - first : stop - first, left:right] = (
            np.tri(stop - start, dtype=bool) if _is_square(segment) else True
        )
    return _group((first, segments[-1].queries[1]), (*path, (0, keys)), _mask(sees))


def _cut(segment: Segment, path: tuple[SourceSpan, ...]) -> Iterator[BlockGroup]:
    before = _length(path) - segment.queries[0]
    first, last = segment.queries
    far: list[Block] = []
    while first < last:
        stop = min(first + _most_queries(before + first), last)
        block = Block((first, stop), (0, before + stop), mask_of(np.tri(stop - first, dtype=bool)))
        if block.keys[1] <= ALL_HEADS_KEYS:
            # Products of all heads at once want keys that lie together; to copy them for each block takes less time.
            yield BlockGroup((*path, (0, (segment.keys[0], stop))), (block,))
        else:
            far.append(block)
        first = stop
    if far:
        yield BlockGroup((*path, (0, segment.keys)), tuple(far))


def _most_queries(keys: int) -> int:
    return max(MAX_BLOCK_QUERIES * FULL_BLOCK_KEYS // max(keys, FULL_BLOCK_KEYS), 16)


def mask_of(sees: NDArray[np.bool_]) -> Tensor:
    """The mask of a block from `sees` [q, m], true where a query sees a key."""
    return torch.from_numpy(np.where(sees, np.float32(0), np.float32(-np.inf)))


def _is_square(segment: Segment) -> bool:
    return segment.queries[1] - segment.queries[0] == segment.keys[1] - segment.keys[0]


def sequence_blocks(spans: Sequence[Span], *, causal: bool, window: int | None) -> Iterator[BlockGroup]:
    """Blocks that hold each query of separate sequences once; `causal` and `window` as in sequence_attention.Rule."""
    joined: list[Span] = []
    for span in spans:
        if joined and span[1] - joined[0][0] > MAX_JOINED_KEYS:
            yield _join_sequences(joined, causal=causal, window=window)
            joined = []
        if span[1] - span[0] <= MAX_JOINED_KEYS:
            joined.append(span)
        else:
            yield _cut_sequence(span, causal=causal, window=window)
    if joined:
        yield _join_sequences(joined, causal=causal, window=window)


def _join_sequences(spans: Sequence[Span], *, causal: bool, window: int | None) -> BlockGroup:
    first, last = spans[0][0], spans[-1][1]
    sees = np.zeros((last - first, last - first), dtype=bool)
    for start, stop in spans:
        own = slice(start - first, stop - first)
        sees[own, own] = _sees((start, stop), (start, stop), causal=causal, window=window)
    return _group((first, last), ((0, (first, last)),), _mask(sees))


def _cut_sequence(span: Span, *, causal: bool, window: int | None) -> BlockGroup:
    reach = span[1] - span[0] if window is None else window - 1
    masks: dict[Span, Tensor | None] = {}
    blocks = []
    for start in range(*span, MAX_BLOCK_QUERIES):
        stop = min(start + MAX_BLOCK_QUERIES, span[1])
        keys = max(span[0], start - reach), stop if causal else min(span[1], stop + reach)
        # A mask over all keys of a long text would be quadratic. Keys that all queries see need none, and blocks whose
        # queries have the same position relative to their keys share one.
        masked = (start, stop) if causal and window is None else keys
        queries, shape = (start, stop), (masked[0] - start, masked[1] - stop)
        if stop - start < MAX_BLOCK_QUERIES or shape not in masks:
            masks[shape] = _mask(_sees(queries, masked, causal=causal, window=window))
        blocks.append(Block(queries, (keys[0] - span[0], keys[1] - span[0]), masks[shape]))
    return BlockGroup(((0, span),), tuple(blocks))


def _sees(queries: Span, keys: Span, *, causal: bool, window: int | None) -> NDArray[np.bool_]:
    behind = np.arange(*queries)[:, None] - np.arange(*keys)
    near = np.ones_like(behind, dtype=bool) if window is None else abs(behind) < window
    return near & (behind >= 0) if causal else near


def _mask(sees: NDArray[np.bool_]) -> Tensor | None:
    return None if sees.all() else mask_of(sees)
