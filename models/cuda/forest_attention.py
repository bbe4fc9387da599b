"""Attention over a forest in one launch a layer, whatever the forest looks like."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from models.cuda.kernels import DeviceTables, Kernels
from models.cuda.tables import attention_tables
from models.devices import Staging
from models.layers.cpu_attention import KeysValues
from models.packing import AttentionLayout

# Rows of a tile: queries times the heads that share keys. The matrix products of the kernel are of this height.
TILE_ROWS = 128


class ForestAttention:
    """Implements Attention with the kernels."""

    def __init__(
        self,
        layout: AttentionLayout,
        staging: Staging,
        kernels: Kernels,
        *,
        group: int,
        cached: Sequence[Sequence[KeysValues]] = (),
    ) -> None:
        """Add the tables of a layout to `staging`.

        Args:
            layout: source 1 of a branch is the first of `cached`.
            staging: send it before the first call.
            kernels: who computes.
            group: query heads for each key head.
            cached: keys and values of the cached prefixes, by prefix and then by layer.
        """
        tile_queries = tile_queries_for(layout, group)
        tables = attention_tables(layout, tile_queries)
        tiles, spans, own = (staging.add(table) for table in (tables.tiles, tables.spans, tables.own))
        by_layer = list(zip(*cached, strict=True))
        offsets = staging.add(np.array([_offsets(layer) for layer in by_layer])) if by_layer else ()
        self._kernels = kernels
        self._tables = DeviceTables(tile_queries, tiles, spans, own, None)
        # A call knows its layer by where the keys of the first cached prefix lie.
        self._cached = {_first_key(layer): row for layer, row in zip(by_layer, offsets, strict=True)}

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        tables = replace(self._tables, cached=self._cached[_first_key(sources[1:])]) if self._cached else self._tables
        return self._kernels.attend(query, sources, tables)


def tile_queries_for(layout: AttentionLayout, group: int) -> int:
    """How many queries a tile holds: one where only the ends are computed, as their keys do not lie together."""
    start, stop, first, last = layout.spans.T
    are_ends = np.any(stop - start != last - first)
    return 1 if are_ends else max(1, TILE_ROWS // group)


def _first_key(prefixes: Sequence[KeysValues]) -> int:
    return prefixes[0][0].data_ptr()


def _offsets(prefixes: Sequence[KeysValues]) -> list[tuple[int, int, int]]:
    """Of each prefix where keys and values begin, counted from the keys of the first, and their stride, in elements."""
    assert all(key.stride() == value.stride() for key, value in prefixes), "keys and values are cached alike"
    base, size = _first_key(prefixes), prefixes[0][0].element_size()
    return [
        ((key.data_ptr() - base) // size, (value.data_ptr() - base) // size, key.stride(0)) for key, value in prefixes
    ]
