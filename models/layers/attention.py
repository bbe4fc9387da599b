"""Causal attention over a forest, where each query sees its own path: the choice for a device, and a plain reference.

All implementations take queries [Q, N, D] and, per source, keys and values [.., K, D], and return [Q, N, D]. Source 0
is the batch itself, the others are cached prefixes.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.devices import has_varlen
from models.layers.cpu_attention import BlockAttention, KeysValues
from models.packing import AttentionLayout, Segment


class Attention(Protocol):
    """Attention prepared for one layout; used by every layer of one batch."""

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        """Attend."""
        ...


def prepare(layout: AttentionLayout, device: torch.device, dtype: torch.dtype, head_dim: int) -> Attention:
    """The fastest exact implementation on this device."""
    if device.type == "cpu":
        return BlockAttention(layout)
    if has_varlen(device, dtype, head_dim):
        from models.layers.varlen_attention import VarlenAttention

        return VarlenAttention(layout, device)
    return PlainAttention(layout)


class PlainAttention:
    """The reference, on any device and in any float dtype: gathers and masks the keys that each segment sees. Slow."""

    def __init__(self, layout: AttentionLayout) -> None:
        self._layout = layout

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        """Attend."""
        return torch.cat([self._segment(query, sources, segment) for segment in self._layout.segments])

    def _segment(self, query: Tensor, sources: Sequence[KeysValues], segment: Segment) -> Tensor:
        seen = [
            (branch.source, branch.keys)
            for branch in self._layout.branches
            if branch.queries[0] <= segment.queries[0] < branch.queries[1]
        ]
        q = query[slice(*segment.queries)].transpose(0, 1)[None]
        k, v = (
            torch.cat([sources[source][which][slice(*keys)] for source, keys in [*seen, (0, segment.keys)]]).transpose(
                0, 1
            )[None]
            for which in (0, 1)
        )
        # Bottom right: the last query sees every key.
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
    """Attend by torch's own function, [1, N, q, D], to keys and values [1, K, k, D]; `mask` [q, k] is who sees whom."""
    if query.shape[1] != key.shape[1] and not _takes_groups(query, mask):
        key, value = (each.repeat_interleave(query.shape[1] // each.shape[1], dim=1) for each in (key, value))
    is_grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=is_grouped
    )


def _takes_groups(query: Tensor, mask: Tensor | None) -> bool:
    # On CUDA it is flash attention that does, and it takes no mask and no float32. The way that takes all of them holds
    # a score for every head and pair, [N, q, k].
    return not query.is_cuda or (mask is None and query.dtype != torch.float32)
