"""Attention over a forest on CUDA, by torch's varlen_attn. The only place that knows its changing signature."""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import cast

import numpy as np
import torch
from torch import Tensor

from models.devices import to_device
from models.layers.cpu_attention import KeysValues
from models.packing import AttentionLayout, Branch, Span


class VarlenAttention:
    """One call for all segments and one per depth of branches, joined by their log-sum-exp. Enqueues, never waits."""

    def __init__(self, layout: AttentionLayout, device: torch.device) -> None:
        self._segments = _Stretches([(segment.queries, segment.keys) for segment in layout.segments], device)
        spans = [segment.queries for segment in layout.segments], [segment.keys for segment in layout.segments]
        # A trimmed layer asks single queries, whose stretches of keys overlap: gathered, they lie one after another.
        self._segment_keys = None if spans[0] == spans[1] else _places(spans[1], device)
        self._cached = [_Branches([branch], device) for branch in layout.branches if branch.source]
        self._levels = [_Branches(level, device) for level in nesting(layout.branches)]

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        """Attend."""
        key, value = sources[0]
        if self._segment_keys is not None:
            key, value = key[self._segment_keys], value[self._segment_keys]
        out, sums = self._segments.attend(query, (key, value), causal=True)
        for branches in [*self._cached, *self._levels]:
            branches.merge(out, sums, query, sources)
        return out


class _Stretches:
    """Pairs of a stretch of queries and one of keys, as offsets on the device."""

    def __init__(self, pairs: Sequence[tuple[Span, Span]], device: torch.device) -> None:
        queries, keys = [_length(pair[0]) for pair in pairs], [_length(pair[1]) for pair in pairs]
        self._starts = _offsets(queries, device), _offsets(keys, device)
        self._longest = max(queries), max(keys)

    def attend(self, query: Tensor, source: KeysValues, *, causal: bool) -> KeysValues:
        """Attention [Q, N, D] and its log-sum-exp [Q, N]."""
        return varlen(query, *source, self._starts, self._longest, window=(-1, 0) if causal else (-1, -1))


class _Branches:
    """Branches of one source whose queries do not overlap, gathered side by side."""

    def __init__(self, branches: Sequence[Branch], device: torch.device) -> None:
        self._source = branches[0].source
        self._stretches = _Stretches([(branch.queries, branch.keys) for branch in branches], device)
        self._queries = _places([branch.queries for branch in branches], device)
        self._keys = _places([branch.keys for branch in branches], device)

    def merge(self, out: Tensor, sums: Tensor, query: Tensor, sources: Sequence[KeysValues]) -> None:
        """Join attention over these branches' keys into `out` and `sums`, in place (see cpu_attention)."""
        key, value = (each[self._keys] for each in sources[self._source])
        part, part_sums = self._stretches.attend(query[self._queries], (key, value), causal=False)
        before = sums[self._queries]
        weight = torch.sigmoid(part_sums - before)[..., None]
        out[self._queries] = torch.lerp(out[self._queries].float(), part.float(), weight).to(out.dtype)
        sums[self._queries] = torch.logaddexp(before, part_sums)


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: tuple[Tensor, Tensor],
    longest: tuple[int, int],
    *,
    window: tuple[int, int],
    scale: float | None = None,
) -> KeysValues:
    """Attention [Q, N, D] and its log-sum-exp [Q, N] inside stretches of queries and keys.

    `starts` and `longest` are of queries and of keys; `window`: tokens seen to the left and right, -1 is all.
    """
    from torch.nn.attention import varlen as module

    attend = cast("Callable[..., KeysValues]", module.varlen_attn)
    known = _parameters()
    options: dict[str, object] = {"return_aux": module.AuxRequest(lse=True)}
    if "window_size" in known:
        options |= {"window_size": window, "scale": scale}
    else:  # torch 2.10
        if scale is not None or window not in {(-1, 0), (-1, -1)}:
            what = "torch 2.10's varlen_attn has no windows and no scale"
            raise NotImplementedError(what)
        options["is_causal"] = window == (-1, 0)
    if "enable_gqa" in known:  # torch 2.12 and newer refuse grouped heads without it
        options["enable_gqa"] = query.shape[1] != key.shape[1]
    # The kernels refuse heads whose numbers do not lie side by side.
    heads = [each if each.stride(-1) == 1 else each.contiguous() for each in (query, key, value)]
    out, sums = attend(*heads, *starts, *longest, **options)
    # (N, Q) in the kernels; the docstring of torch 2.13 says (Q, N).
    return out, sums.transpose(0, 1) if sums.shape[0] == query.shape[1] else sums


def nesting(branches: Sequence[Branch]) -> list[list[Branch]]:
    """The batch's own branches by how many others hold their queries; within one list no two overlap."""
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


def _length(span: Span) -> int:
    return span[1] - span[0]


def _offsets(lengths: Sequence[int], device: torch.device) -> Tensor:
    return to_device(np.cumsum([0, *lengths], dtype=np.int32), device)


def _places(spans: Sequence[Span], device: torch.device) -> Tensor:
    return to_device(np.concatenate([np.arange(*span, dtype=np.int64) for span in spans]), device)


@cache
def _parameters() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)
