"""The tables show each query exactly the keys that its layout shows it."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models.cuda.tables import AttentionTables, attention_tables
from models.interface import Ids
from models.packing import AttentionLayout, pack

CACHED = [np.array([0, 1], dtype=np.int32), np.array([2], dtype=np.int32)]
Seen = list[list[tuple[int, int]]]


def texts(seed: int) -> list[Ids]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 3, random.integers(1, 40), dtype=np.int32) for _ in range(40)]


def seen_by_layout(layout: AttentionLayout) -> Seen:
    """For each query the (source, key) that it sees."""
    seen: Seen = []
    for segment in layout.segments:
        for query in range(*segment.queries):
            branches = [branch for branch in layout.branches if branch.queries[0] <= query < branch.queries[1]]
            behind = segment.queries[1] - 1 - query
            own = [(0, key) for key in range(segment.keys[0], segment.keys[1] - behind)]
            seen.append(sorted([*((b.source, key) for b in branches for key in range(*b.keys)), *own]))
    return seen


def seen_by_tables(tables: AttentionTables, tile_queries: int) -> Seen:
    return [_seen_by(tables, query, tables.tiles[query // tile_queries]) for query in range(len(tables.own))]


def _seen_by(tables: AttentionTables, query: int, tile: NDArray[np.int32]) -> list[tuple[int, int]]:
    first, last, span, span_stop = tile.tolist()
    own = [(0, key) for key in range(first, last) if tables.own[query, 0] <= key <= tables.own[query, 1]]
    spans = [row for row in tables.spans[span:span_stop].tolist() if row[3] <= query < row[4]]
    return sorted([*own, *((source, key) for start, stop, source, *_ in spans for key in range(start, stop))])


@pytest.mark.parametrize("cached", [[], CACHED], ids=["no cached prefix", "cached prefixes"])
@pytest.mark.parametrize("tile_queries", [1, 7, 64])
@pytest.mark.parametrize("seed", range(3))
def test_a_query_sees_the_keys_of_the_layout(seed: int, tile_queries: int, cached: Sequence[Ids]) -> None:
    forest = pack(texts(seed), cached)

    for layout in (forest.layout, forest.layout.at(forest.ends)):
        assert seen_by_tables(attention_tables(layout, tile_queries), tile_queries) == seen_by_layout(layout)


def test_the_number_of_tiles_depends_on_the_number_of_queries_alone() -> None:
    alike = pack([np.array([1, 2, number], dtype=np.int32) for number in range(62)]).layout
    alone = pack([np.arange(64, dtype=np.int32)]).layout

    assert len(attention_tables(alike, 16).tiles) == len(attention_tables(alone, 16).tiles) == 4


def test_texts_without_a_common_beginning_have_no_spans() -> None:
    tables = attention_tables(pack([np.full(3, number, dtype=np.int32) for number in range(5)]).layout, 8)

    assert tables.tiles.tolist() == [[0, 8, 0, 0], [6, 15, 0, 0]]
    assert tables.own.tolist() == [[number - number % 3, number] for number in range(15)]
    assert {table.dtype for table in (tables.tiles, tables.spans, tables.own)} == {np.dtype(np.int32)}
