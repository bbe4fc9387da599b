"""Attention over a forest on CUDA by torch's varlen_attn. Only this module knows its signatures by version."""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from models.devices import Staging
from models.layers.cpu_attention import KeysValues
from models.packing import AttentionLayout, Branch, Indexes


class VarlenAttention:
    """Implements Attention: one call for all segments and one for each depth of branches, merged by log-sum-exp.

    A call enqueues kernels and never waits for the device. `attend` is varlen(), or a function like it.
    """

    def __init__(self, layout: AttentionLayout, staging: Staging, attend: "Attend | None" = None) -> None:
        self._attend = attend or varlen
        queries, keys = np.split(layout.spans, 2, axis=1)
        self._segments = _SpanPairs(queries, keys, staging)
        # In the last layer segments are single queries, whose spans of keys overlap; gathered, they do not.
        self._segment_keys = None if np.array_equal(queries, keys) else _indexes(keys, staging)
        self._cached = [_Branches([branch], staging) for branch in layout.branches if branch.source]
        self._levels = [_Branches(level, staging) for level in nesting(layout.branches)]

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        key, value = sources[0]
        if self._segment_keys is not None:
            key, value = key[self._segment_keys], value[self._segment_keys]
        out, sums = self._segments.attend(self._attend, query, (key, value), causal=True)
        for branches in [*self._cached, *self._levels]:
            branches.merge(self._attend, out, sums, query, sources)
        return out


class _SpanPairs:
    """Pairs of a span of queries and a span of keys, as offsets on the device."""

    def __init__(self, queries: Indexes, keys: Indexes, staging: Staging) -> None:
        """Spans [P, 2] of queries and of keys."""
        lengths = [spans[:, 1] - spans[:, 0] for spans in (queries, keys)]
        self._cu_seqlens = _offsets(lengths[0], staging), _offsets(lengths[1], staging)
        self._max_seqlen = int(lengths[0].max()), int(lengths[1].max())

    def attend(self, attend: "Attend", query: Tensor, source: KeysValues, *, causal: bool) -> KeysValues:
        """Attention [Q, N, D] and its log-sum-exp [Q, N]."""
        return attend(query, *source, self._cu_seqlens, self._max_seqlen, window=(-1, 0) if causal else (-1, -1))


class _Branches:
    """Branches of one source whose queries do not overlap, gathered to run in one call."""

    def __init__(self, branches: Sequence[Branch], staging: Staging) -> None:
        self._source = branches[0].source
        queries, keys = (
            np.array([branch.queries for branch in branches]),
            np.array([branch.keys for branch in branches]),
        )
        self._pairs = _SpanPairs(queries, keys, staging)
        self._queries, self._keys = _indexes(queries, staging), _indexes(keys, staging)

    def merge(self, attend: "Attend", out: Tensor, sums: Tensor, query: Tensor, sources: Sequence[KeysValues]) -> None:
        """Merge attention over the keys of these branches into `out` [Q, N, D] and `sums` [Q, N], in place."""
        key, value = (tensor[self._keys] for tensor in sources[self._source])
        part, part_sums = self._pairs.attend(attend, query[self._queries], (key, value), causal=False)
        before = sums[self._queries]
        weight = torch.sigmoid(part_sums - before)[..., None]
        out[self._queries] = torch.lerp(out[self._queries].float(), part.float(), weight).to(out.dtype)
        sums[self._queries] = torch.logaddexp(before, part_sums)


class Attend(Protocol):
    """What varlen() does."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_seqlens: tuple[Tensor, Tensor],
        max_seqlen: tuple[int, int],
        *,
        window: tuple[int, int],
        scale: float | None = None,
    ) -> KeysValues: ...


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: tuple[Tensor, Tensor],
    max_seqlen: tuple[int, int],
    *,
    window: tuple[int, int],
    scale: float | None = None,
) -> KeysValues:
    """Attention [Q, N, D] and its log-sum-exp [Q, N], where the queries of each sequence see the keys of that sequence.

    Args:
        query: [Q, N, D].
        key: [.., K, D]; K divides N.
        value: [.., K, D].
        cu_seqlens: the offsets of the sequences, int32, of queries and of keys.
        max_seqlen: the longest sequence, of queries and of keys.
        window: how many tokens a query sees to its left and right; -1 means all.
        scale: multiplies each score; None means D^-0.5.
    """
    from torch.nn.attention import varlen as module

    attend = cast("Callable[..., KeysValues]", module.varlen_attn)
    options: dict[str, object] = {"return_aux": module.AuxRequest(lse=True), "window_size": window, "scale": scale}
    if "enable_gqa" in _parameters():  # required for grouped heads by torch 2.12 and newer
        options["enable_gqa"] = query.shape[1] != key.shape[1]
    # The kernels refuse tensors whose last axis is not contiguous.
    heads = [tensor if tensor.stride(-1) == 1 else tensor.contiguous() for tensor in (query, key, value)]
    out, sums = attend(*heads, *cu_seqlens, *max_seqlen, **options)
    assert sums.dim() == 2, f"varlen_attn gives a log-sum-exp of the shape {tuple(sums.shape)}: this is a bug"
    # The kernels return [N, Q]; the docstring of torch 2.13 says [Q, N].
    return out, sums.transpose(0, 1) if sums.shape[0] == query.shape[1] else sums


def nesting(branches: Sequence[Branch]) -> list[list[Branch]]:
    """The branches of the batch itself, grouped by nesting depth; within a group no two overlap."""
    levels: list[list[Branch]] = []
    stops: list[int] = []
    for branch in branches:
        if branch.source:
            continue
        while stops and stops[-1] <= branch.queries[0]:
            stops.pop()
        if len(stops) == len(levels):
            levels.append([])
        levels[len(stops)].append(branch)
        stops.append(branch.queries[1])
    return levels


def _offsets(lengths: Indexes, staging: Staging) -> Tensor:
    return staging.add(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def _indexes(spans: Indexes, staging: Staging) -> Tensor:
    """The places of all spans [P, 2], one span after another."""
    lengths = spans[:, 1] - spans[:, 0]
    shifts = spans[:, 0] - (np.cumsum(lengths) - lengths)
    return staging.add(np.arange(lengths.sum()) + np.repeat(shifts, lengths))


@cache
def _parameters() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)
