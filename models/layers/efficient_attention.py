"""Attention over many sequences in one call where flash attention cannot run: in float32, and before Ampere."""

import torch
from torch import Tensor

from models.layers.cpu_attention import KeysValues

# CustomMaskType in aten/src/ATen/native/transformers/cuda/mem_eff_attention/kernel_forward.h of pytorch.
NO_MASK, CAUSAL_FROM_BOTTOM_RIGHT = 0, 2


def efficient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: tuple[Tensor, Tensor],
    max_seqlen: tuple[int, int],
    *,
    window: tuple[int, int],
    scale: float | None = None,
) -> KeysValues:
    """What models.layers.varlen_attention.varlen() does, by torch's memory-efficient kernel.

    It knows no grouped heads: keys and values are repeated for each head.

    Raises: NotImplementedError: the window reaches to the right of a query.
    """
    left, right = window
    if window != (-1, -1) and right != 0:
        message = f"the memory-efficient kernel has no window of {left} tokens to the left and {right} to the right"
        raise NotImplementedError(message)
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    # The kernel refuses tensors whose last axis is not contiguous.
    tensors = [heads if heads.stride(-1) == 1 else heads.contiguous() for heads in (query, key, value)]
    out, sums, *_ = torch.ops.aten._efficient_attention_forward(  # noqa: SLF001
        *(heads[None] for heads in tensors),
        None,
        *cu_seqlens,
        *max_seqlen,
        0.0,
        NO_MASK if right else CAUSAL_FROM_BOTTOM_RIGHT,
        compute_log_sumexp=True,
        scale=scale,
        window_size=None if left < 0 else left + 1,
    )
    return out[0], _by_query(sums, cu_seqlens[0], len(query))


def _by_query(sums: Tensor, offsets: Tensor, queries: int) -> Tensor:
    """Log-sum-exps [Q, N] of those that the kernel gives by sequence, [S, N, longest], with padding."""
    places = torch.arange(queries, device=sums.device, dtype=torch.int32)
    sequences = torch.searchsorted(offsets[1:], places, right=True)
    return sums[sequences, :, places - offsets[sequences]]
