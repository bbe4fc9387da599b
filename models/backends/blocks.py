"""Attention inside sequences on CPUs, cut into blocks: long ones cut, short neighbours joined."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.cpu_attention import JOINED_KEYS, MOST_QUERIES, Block, mask_of
from models.forest import Span


def blocks_of(spans: Sequence[Span], *, causal: bool, window: int | None) -> Iterator[Block]:
    """Every query in one block, with all the keys that it sees; see Rule for `window`."""
    joined: list[Span] = []
    for span in spans:
        if joined and span[1] - joined[0][0] > JOINED_KEYS:
            yield _join(joined, causal=causal, window=window)
            joined = []
        if span[1] - span[0] <= JOINED_KEYS:
            joined.append(span)
        else:
            yield from _cut(span, causal=causal, window=window)
    if joined:
        yield _join(joined, causal=causal, window=window)


def _join(spans: Sequence[Span], *, causal: bool, window: int | None) -> Block:
    first, last = spans[0][0], spans[-1][1]
    sees = np.zeros((last - first, last - first), dtype=bool)
    for start, stop in spans:
        own = slice(start - first, stop - first)
        sees[own, own] = _sees((start, stop), (start, stop), causal=causal, window=window)
    return Block((first, last), ((0, (first, last)),), _mask(sees))


def _cut(span: Span, *, causal: bool, window: int | None) -> Iterator[Block]:
    reach = span[1] - span[0] if window is None else window - 1
    masks: dict[Span, Tensor | None] = {}
    for start in range(*span, MOST_QUERIES):
        stop = min(start + MOST_QUERIES, span[1])
        keys = max(span[0], start - reach), stop if causal else min(span[1], stop + reach)
        # A mask for each key of a long text would be quadratic: those that all queries see have none, and blocks whose
        # queries lie in the same way to their keys share one.
        masked = (start, stop) if causal and window is None else keys
        queries, shape = (start, stop), (masked[0] - start, masked[1] - stop)
        if stop - start < MOST_QUERIES or shape not in masks:
            masks[shape] = _mask(_sees(queries, masked, causal=causal, window=window))
        yield Block(queries, ((0, keys),), masks[shape])


def _sees(queries: Span, keys: Span, *, causal: bool, window: int | None) -> NDArray[np.bool_]:
    behind = np.arange(*queries)[:, None] - np.arange(*keys)
    near = np.ones_like(behind, dtype=bool) if window is None else abs(behind) < window
    return near & (behind >= 0) if causal else near


def _mask(sees: NDArray[np.bool_]) -> Tensor | None:
    return None if sees.all() else mask_of(sees)
