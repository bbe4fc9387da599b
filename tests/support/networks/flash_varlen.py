"""torch 2.12's varlen_attn, which runs on CUDA only, written out for the CPU."""

import torch
from torch import Tensor


def flash_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_starts: Tensor,
    key_starts: Tensor,
    max_queries: int,
    max_keys: int,
    *,
    return_aux: object,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """Windows are aligned at the bottom right; the log-sum-exp has the shape [heads, queries]."""
    assert query_starts.dtype == key_starts.dtype == torch.int32
    assert all(tensor.stride(-1) == 1 for tensor in (query, key, value))
    assert query.shape[-1] == key.shape[-1] == value.shape[-1] <= 256 and query.shape[-1] % 8 == 0
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert max_queries == int(query_starts.diff().max())
    assert max_keys == int(key_starts.diff().max())
    assert (int(query_starts[-1]), int(key_starts[-1])) == (len(query), len(key))
    repeat = query.shape[1] // key.shape[1]
    out, sums = torch.empty_like(query), torch.empty(query.shape[1], len(query))
    for a, b, c, d in zip(query_starts[:-1], query_starts[1:], key_starts[:-1], key_starts[1:], strict=True):
        k, v = (tensor[c:d].repeat_interleave(repeat, 1) for tensor in (key, value))
        logits = torch.einsum("qnd,knd->nqk", query[a:b], k) * (scale or query.shape[-1] ** -0.5)
        logits = logits.masked_fill(~_seen(int(b - a), int(d - c), window_size), -torch.inf)
        out[a:b] = torch.einsum("nqk,knd->qnd", logits.softmax(-1), v)
        sums[:, a:b] = logits.logsumexp(-1)
    return out, sums


def _seen(queries: int, keys: int, window: tuple[int, int]) -> Tensor:
    behind = torch.arange(queries)[:, None] + (keys - queries) - torch.arange(keys)
    left, right = (queries + keys if side < 0 else side for side in window)
    return (behind <= left) & (-behind <= right)
