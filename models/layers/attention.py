"""Causal attention over a forest, where each query sees its own path: prepare() chooses an implementation for a device.

All implementations take queries [Q, N, D] and for each source keys and values [.., K, D], and return [Q, N, D].
Source 0 is the batch itself; the others are cached prefixes.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.devices import Staging, has_varlen
from models.layers.cpu_attention import BlockAttention, KeysValues
from models.packing import AttentionLayout, Segment


class Attention(Protocol):
    """Attention prepared for one layout. Every layer of one batch uses it."""

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        """Attention [Q, N, D] of queries [Q, N, D] to the keys and values of all sources, in the dtype of `query`."""
        ...


def prepare(layout: AttentionLayout, staging: Staging, dtype: torch.dtype, head_dim: int) -> Attention:
    """The fastest exact implementation for this device, dtype and head width. Call it before staging.send()."""
    if staging.device.type == "cpu":
        return BlockAttention(layout)
    if has_varlen(staging.device, dtype, head_dim):
        from models.layers.varlen_attention import VarlenAttention

        return VarlenAttention(layout, staging)
    return PlainAttention(layout)


class PlainAttention:
    """The slow reference for any device and float dtype: gathers and masks the keys that each segment sees."""

    def __init__(self, layout: AttentionLayout) -> None:
        self._layout = layout

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        return torch.cat([self._segment(query, sources, segment) for segment in self._layout.segments])

    def _segment(self, query: Tensor, sources: Sequence[KeysValues], segment: Segment) -> Tensor:
        prefixes = [
            (branch.source, branch.keys)
            for branch in self._layout.branches
            if branch.queries[0] <= segment.queries[0] < branch.queries[1]
        ]
        q = query[slice(*segment.queries)].transpose(0, 1)[None]
        k, v = (
            torch.cat([sources[source][part][slice(*keys)] for source, keys in [*prefixes, (0, segment.keys)]])
            .transpose(0, 1)
            .unsqueeze(0)
            for part in (0, 1)
        )
        # Aligned at the bottom right: the last query sees every key.
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
        return torch_attention(q, k, v, mask=mask)[0].transpose(0, 1)


def torch_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Torch's scaled_dot_product_attention, with grouped heads on every device.

    Args:
        query: [1, N, q, D].
        key: [1, K, k, D]; K divides N.
        value: [1, K, k, Dv].
        mask: bool [q, k], true where a query sees a key; None for none.
        is_causal: whether query i sees only the first i + 1 keys.
        scale: multiplies each score; None means D^-0.5.
    """
    if query.shape[1] != key.shape[1] and not _supports_grouped_heads(query, mask):
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    is_grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=is_grouped
    )


def _supports_grouped_heads(query: Tensor, mask: Tensor | None) -> bool:
    # On CUDA only flash attention does, without a mask and in half precision. The kernel for all other cases would hold
    # a score for every head and pair of tokens, [N, q, k].
    return not query.is_cuda or (mask is None and query.dtype != torch.float32)
