"""Attention on CPUs: blocks of queries times all the keys that they see, with scores in float32.

torch's own kernel multiplies at a third of the speed (benchmarks/attention.py), and does not return its scores.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.layers.onednn import float32_products
from models.packing import AttentionLayout, Branch, Segment, Span

KeysValues = tuple[Tensor, Tensor]
SourceSpan = tuple[int, Span]

# The scores of a block must fit the cache. Longer segments are cut; adjacent short ones with the same path are joined.
MAX_BLOCK_QUERIES = 128
MAX_JOINED_KEYS = 64
# With more keys than this a block has fewer queries, so that its scores take no more memory.
FULL_BLOCK_KEYS = 2048


@dataclass(frozen=True, slots=True)
class Block:
    """Queries and the keys that they see, which are spans of sources, one after another.

    `mask`, float32 [q, m], is added to the scores of the last m keys: minus infinity hides a key from a query.
    """

    queries: Span
    keys: tuple[SourceSpan, ...]
    mask: Tensor | None


class BlockAttention:
    """Implements Attention on CPUs."""

    def __init__(self, layout: AttentionLayout) -> None:
        self._blocks = list(forest_blocks(layout))

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        return attend(query, sources, self._blocks, query.shape[-1] ** -0.5)


def attend(query: Tensor, sources: Sequence[KeysValues], blocks: Iterable[Block], scale: float) -> Tensor:
    """Attention [Q, N, D] of each block's queries to its keys.

    Args:
        query: [Q, N, D].
        sources: keys and values of each source, [.., K, D]; K divides N.
        blocks: together they hold each query once.
        scale: multiplies each score.
    """
    out = torch.empty(query.shape, dtype=query.dtype)
    with float32_products(exact=query.dtype == torch.float32):
        for block in blocks:
            key = _by_head([sources[source][0][slice(*span)] for source, span in block.keys], torch.float32)
            value = _by_head([sources[source][1][slice(*span)] for source, span in block.keys], query.dtype)
            _attend_block(query[slice(*block.queries)], key, value, block.mask, scale, out[slice(*block.queries)])
    return out


def _by_head(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Concatenate spans of keys [m, K, D] as [K, m, D]: products of contiguous heads take half the time."""
    (_, heads, width), keys = parts[0].shape, sum(map(len, parts))
    joined, first = torch.empty((heads, keys, width), dtype=dtype), 0
    for part in parts:
        joined[:, first : first + len(part)].copy_(part.transpose(0, 1))
        first += len(part)
    return joined


def _attend_block(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, out: Tensor) -> None:
    """Write softmax(query key^T scale + mask) value to `out` [n, N, D]; `key` (float32) and `value` are [K, m, D]."""
    (n, heads, width), groups = query.shape, len(key)
    shape = (n, groups, heads // groups, width)
    # A row is one query and one head of the group: heads of a group share one product, so no key is repeated.
    rows = torch.empty((groups, n, heads // groups, width), dtype=torch.float32)
    rows.copy_(query.view(shape).transpose(0, 1))
    scores = torch.bmm(rows.view(groups, -1, width), key.mT).mul_(scale)
    if mask is not None:
        scores.view(groups, n, heads // groups, -1)[..., -mask.shape[1] :].add_(mask[:, None])
    weights = torch.softmax(scores, -1).to(value.dtype)
    attended = torch.bmm(weights, value)
    out.view(shape).copy_(attended.view(groups, n, heads // groups, width).transpose(0, 1))


def forest_blocks(layout: AttentionLayout) -> Iterator[Block]:
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
            yield Block(segment.queries, (*path, (0, segment.keys)), None)
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


def _join(segments: Sequence[Segment], path: tuple[SourceSpan, ...]) -> Block:
    first, keys = segments[0].queries[0], (segments[0].keys[0], max(segment.keys[1] for segment in segments))
    sees = np.zeros((segments[-1].queries[1] - first, keys[1] - keys[0]), dtype=bool)
    for segment in segments:
        (start, stop), (left, right) = segment.queries, (key - keys[0] for key in segment.keys)
        sees[start - first : stop - first, left:right] = (
            np.tri(stop - start, dtype=bool) if _is_square(segment) else True
        )
    mask = None if sees.all() else mask_of(sees)
    return Block((first, segments[-1].queries[1]), (*path, (0, keys)), mask)


def _cut(segment: Segment, path: tuple[SourceSpan, ...]) -> Iterator[Block]:
    first, last = segment.queries
    while first < last:
        stop = min(first + _most_queries(first - segment.queries[0]), last)
        sees = np.tri(stop - first, dtype=bool)
        yield Block((first, stop), (*path, (0, (segment.queries[0], stop))), mask_of(sees))
        first = stop


def _most_queries(keys: int) -> int:
    return max(MAX_BLOCK_QUERIES * FULL_BLOCK_KEYS // max(keys, FULL_BLOCK_KEYS), 16)


def mask_of(sees: NDArray[np.bool_]) -> Tensor:
    """The mask of a block from `sees` [q, m], true where a query sees a key."""
    return torch.from_numpy(np.where(sees, np.float32(0), np.float32(-np.inf)))


def _is_square(segment: Segment) -> bool:
    return segment.queries[1] - segment.queries[0] == segment.keys[1] - segment.keys[0]


def sequence_blocks(spans: Sequence[Span], *, causal: bool, window: int | None) -> Iterator[Block]:
    """Blocks that hold each query of separate sequences once; `causal` and `window` as in sequence_attention.Rule."""
    joined: list[Span] = []
    for span in spans:
        if joined and span[1] - joined[0][0] > MAX_JOINED_KEYS:
            yield _join_sequences(joined, causal=causal, window=window)
            joined = []
        if span[1] - span[0] <= MAX_JOINED_KEYS:
            joined.append(span)
        else:
            yield from _cut_sequence(span, causal=causal, window=window)
    if joined:
        yield _join_sequences(joined, causal=causal, window=window)


def _join_sequences(spans: Sequence[Span], *, causal: bool, window: int | None) -> Block:
    first, last = spans[0][0], spans[-1][1]
    sees = np.zeros((last - first, last - first), dtype=bool)
    for start, stop in spans:
        own = slice(start - first, stop - first)
        sees[own, own] = _sees((start, stop), (start, stop), causal=causal, window=window)
    return Block((first, last), ((0, (first, last)),), _mask(sees))


def _cut_sequence(span: Span, *, causal: bool, window: int | None) -> Iterator[Block]:
    reach = span[1] - span[0] if window is None else window - 1
    masks: dict[Span, Tensor | None] = {}
    for start in range(*span, MAX_BLOCK_QUERIES):
        stop = min(start + MAX_BLOCK_QUERIES, span[1])
        keys = max(span[0], start - reach), stop if causal else min(span[1], stop + reach)
        # A mask over all keys of a long text would be quadratic. Keys that all queries see need none, and blocks whose
        # queries have the same position relative to their keys share one.
        masked = (start, stop) if causal and window is None else keys
        queries, shape = (start, stop), (masked[0] - start, masked[1] - stop)
        if stop - start < MAX_BLOCK_QUERIES or shape not in masks:
            masks[shape] = _mask(_sees(queries, masked, causal=causal, window=window))
        yield Block(queries, ((0, keys),), masks[shape])


def _sees(queries: Span, keys: Span, *, causal: bool, window: int | None) -> NDArray[np.bool_]:
    behind = np.arange(*queries)[:, None] - np.arange(*keys)
    near = np.ones_like(behind, dtype=bool) if window is None else abs(behind) < window
    return near & (behind >= 0) if causal else near


def _mask(sees: NDArray[np.bool_]) -> Tensor | None:
    return None if sees.all() else mask_of(sees)
