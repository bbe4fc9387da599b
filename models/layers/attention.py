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
from models.layers.efficient_attention import efficient
from models.packing import AttentionLayout, Segment
from models.prefix_trie import FREE, SharingCosts

# What a layer of eager kernels costs on the fastest card that is known (H200, modelled, not run on a GPU): seconds of a
# launch, operations and bytes a second, and the bytes that move for a token, per hidden unit.
LAUNCH_S, FLOPS, BYTES_PER_S, HIDDEN_BYTES = 2e-6, 7e14, 3.9e12, 200
# Of one level of branches in varlen_attention: kernels, and bytes that move for a query, per number of its heads.
LEVEL_KERNELS, QUERY_BYTES = 16, 46
# The same of fused layers: a branch is a block of keys more, of which a query may see few.
FUSED_HIDDEN_BYTES, BLOCK_KEYS, ATTENTION_SHARE = 35, 64, 0.45


class Attention(Protocol):
    """Attention prepared for one layout. Every layer of one batch uses it."""

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        """Attention [Q, N, D] of queries [Q, N, D] to the keys and values of all sources, in the dtype of `query`."""
        ...


def prepare(layout: AttentionLayout, staging: Staging, dtype: torch.dtype, head_dim: int) -> Attention:
    """The fastest exact implementation for this device, dtype and head width. Call it before staging.send()."""
    if staging.device.type == "cpu":
        return BlockAttention(layout)
    if staging.device.type != "cuda":
        return PlainAttention(layout)
    from models.layers.varlen_attention import VarlenAttention

    return VarlenAttention(layout, staging, None if has_varlen(staging.device, dtype, head_dim) else efficient)


def sharing_costs(
    device: torch.device, *, parameters: int, layers: int, hidden_size: int, head_numbers: int, fused: bool = False
) -> SharingCosts:
    """What sharing a prefix costs in this network on this device.

    On the CPU a branch costs no more than its keys would. On CUDA each level of branches is kernels of its own, unless
    the network is fused.

    Args:
        device: where the network runs.
        parameters: of all layers.
        layers: how many there are.
        hidden_size: numbers of a token between layers.
        head_numbers: numbers of a token's query, N x D.
        fused: whether the network runs on the kernels of models.cuda.
    """
    if device.type != "cuda":
        return FREE
    if fused:
        token_s = 2 * parameters / FLOPS + layers * hidden_size * FUSED_HIDDEN_BYTES / BYTES_PER_S
        return SharingCosts(layers * 4 * head_numbers * BLOCK_KEYS / (FLOPS * ATTENTION_SHARE) / token_s)
    token_s = 2 * parameters / FLOPS + layers * hidden_size * HIDDEN_BYTES / BYTES_PER_S
    query_s = layers * head_numbers * QUERY_BYTES / BYTES_PER_S
    return SharingCosts(query_s / token_s, layers * LEVEL_KERNELS * LAUNCH_S / token_s)


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
