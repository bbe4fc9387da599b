"""The tables of the attention kernel: which keys each tile of queries sees. Pure: no torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.packing import AttentionLayout

Table = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class AttentionTables:
    """The layout of Q queries in tiles of neighbouring queries, as int32 tables.

    A query sees whole spans of earlier keys, and of its own segment the keys up to itself: both are index ranges, so a
    tile may hold queries of several segments.

    tiles: [ceil(Q / tile_queries), 4]: the own keys of all its queries, first and behind the last; its rows of `spans`,
        first and behind the last.
    spans: [at least 1, 5]: keys, first and behind the last; their source; the queries that see all of them, first and
        behind the last. A span is there once for each tile that has such queries.
    own: [Q, 2]: the first and the last key of its segment that a query sees.
    """

    tiles: Table
    spans: Table
    own: Table


def attention_tables(layout: AttentionLayout, tile_queries: int) -> AttentionTables:
    """The tables of a layout, with `tile_queries` queries a tile."""
    own = _own_keys(layout)
    starts = np.arange(0, len(own), tile_queries)
    spans, bounds = _spans(layout, tile_queries, len(starts))
    first, last = np.minimum.reduceat(own[:, 0], starts), np.maximum.reduceat(own[:, 1], starts) + 1
    tiles = np.stack([first, last, bounds[:-1], bounds[1:]], axis=1)
    return AttentionTables(*(np.ascontiguousarray(table, dtype=np.int32) for table in (tiles, spans, own)))


def _own_keys(layout: AttentionLayout) -> NDArray[np.int64]:
    segments = layout.spans
    lengths = segments[:, 1] - segments[:, 0]
    start, stop, first, last = np.repeat(segments, lengths, axis=0).T
    assert (start[0], stop[-1]) == (0, len(start)), "the segments of a layout hold each query once: this is a bug"
    # Of a segment whose queries were trimmed, one query sees all keys.
    is_causal = stop - start == last - first
    return np.stack([first, np.where(is_causal, first + np.arange(len(start)) - start, last - 1)], axis=1)


def _spans(layout: AttentionLayout, tile_queries: int, tiles: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of `spans` tile by tile, and [tiles + 1] the bounds of each tile's rows."""
    branches = np.array([(*b.keys, b.source, *b.queries) for b in layout.branches], dtype=np.int64).reshape(-1, 5)
    first, last = branches[:, 3] // tile_queries, (branches[:, 4] - 1) // tile_queries
    counts = last - first + 1
    numbers = np.repeat(np.arange(len(branches)), counts)
    tile = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    rows = branches[numbers[np.argsort(tile, kind="stable")]]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(tile, minlength=tiles))])
    # A table without rows has no address.
    return rows if len(rows) else np.zeros((1, 5), dtype=np.int64), bounds
