"""Attention kernels of the simulated GPU: flash attention with the checks of its C++ code, and torch's choice for SDPA.

Sources: mha_varlen_fwd in aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp and _fused_sdp_choice_cuda in
aten/src/ATen/native/transformers/cuda/sdp_utils.cpp of pytorch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tests.support.simulated_cuda.tensor import GPU, DeviceTensor, empty_on_device, launch, note_written, on_device

HALF = (torch.float16, torch.bfloat16)
FLASH_CAPABILITY, MAX_HEAD_DIM, HEAD_DIM_MULTIPLE = (8, 0), 256, 8


def flash_attention_forward(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """aten::_flash_attention_forward over sequences that lie one after another."""
    arguments = _by_name(operator, args, kwargs)
    query, key, value = arguments["query"], arguments["key"], arguments["value"]
    offsets = arguments["cum_seq_q"], arguments["cum_seq_k"]
    longest = arguments["max_q"], arguments["max_k"]
    check_arguments(query, key, value, offsets)
    unsupported = [name for name in ("seqused_k", "block_table", "alibi_slopes") if arguments.get(name) is not None]
    assert not unsupported, f"the simulation does not know {unsupported}"
    launch("_flash_attention_forward", 1, [query, key, value, *offsets])
    out = empty_on_device(query.shape, None, query.dtype)
    sums = empty_on_device((query.shape[1], query.shape[0]), None, torch.float32)
    if GPU.holds_numbers:
        left, right = (-1 if n is None else n for n in (arguments["window_size_left"], arguments["window_size_right"]))
        _attend(
            *(tensor.numbers for tensor in (query, key, value, out, sums)),
            spans=_spans(offsets, longest, (len(query), len(key))),
            window=(left, 0 if arguments["is_causal"] else right),
            scale=arguments["scale"] or query.shape[-1] ** -0.5,
        )
    note_written([out, sums])
    unused = empty_on_device((2,), None, torch.int64)
    return out, sums, unused, unused, unused


def _by_name(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    schema = operator._schema.arguments
    defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    return defaults | dict(zip((argument.name for argument in schema), args, strict=False)) | dict(kwargs)


def check_arguments(query: Tensor, key: Tensor, value: Tensor, offsets: Sequence[Tensor]) -> None:
    """Refuse what mha_varlen_fwd refuses, in its words."""
    assert GPU.capability >= FLASH_CAPABILITY, "FlashAttention only supports Ampere GPUs or newer."
    width, heads, groups = query.shape[2], query.shape[1], key.shape[1]
    tensors = (query, key, value)
    q_offsets, k_offsets = offsets
    checks = {
        "FlashAttention only support fp16 and bf16 data type": query.dtype in HALF,
        "query, key and value must have the same dtype": query.dtype == key.dtype == value.dtype,
        "Input tensor must be on CUDA device": all(isinstance(tensor, DeviceTensor) for tensor in (*tensors, *offsets)),
        "Input tensor must have contiguous last dimension": all(tensor.stride(-1) == 1 for tensor in tensors),
        "cu_seqlens must have dtype int32": all(tensor.dtype == torch.int32 for tensor in offsets),
        "cu_seqlens must be contiguous": all(tensor.is_contiguous() for tensor in offsets),
        "batch size must be positive": len(q_offsets) > 1,
        "cu_seqlens_k must have shape (batch_size + 1)": len(q_offsets) == len(k_offsets),
        "FlashAttention forward only supports head dimension at most 256": width <= MAX_HEAD_DIM,
        "head_size must be a multiple of 8": width % HEAD_DIM_MULTIPLE == 0,
        "Number of heads in key/value must divide number of heads in query": heads % groups == 0,
        "k and v must have shape (total_k, num_heads_k, head_size)": key.shape == value.shape and key.shape[2] == width,
    }
    if failed := [message for message, holds in checks.items() if not holds]:
        raise RuntimeError(failed[0])


def _spans(offsets: Sequence[DeviceTensor], longest: Sequence[int], totals: Sequence[int]) -> list[tuple[slice, slice]]:
    """Spans of queries and of keys. What CUDA leaves undefined without an error is an error here."""
    bounds = [tensor.numbers.tolist() for tensor in offsets]
    for ends, most, total in zip(bounds, longest, totals, strict=True):
        lengths = [stop - start for start, stop in pairwise(ends)]
        assert ends[0] == 0 and ends[-1] == total, f"the offsets {ends[0]} to {ends[-1]} do not cover {total} rows"
        # The kernel's grid has blocks for `most` rows: the rows behind them stay unwritten, without an error.
        assert min(lengths) >= 0 and max(lengths) <= most, f"a sequence has {max(lengths)} rows, max_seqlen is {most}"
    return [(slice(*q), slice(*k)) for q, k in zip(pairwise(bounds[0]), pairwise(bounds[1]), strict=True)]


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    sums: Tensor,
    *,
    spans: Sequence[tuple[slice, slice]],
    window: tuple[int, int],
    scale: float,
) -> None:
    """Write attention [Q, N, D] and its log-sum-exp [N, Q]; windows are aligned at the bottom right."""
    repeats = query.shape[1] // key.shape[1]
    for queries, keys in spans:
        q, (k, v) = query[queries].float(), (t[keys].float().repeat_interleave(repeats, 1) for t in (key, value))
        scores = torch.einsum("qnd,knd->nqk", q, k) * scale
        behind = torch.arange(len(q))[:, None] + (len(k) - len(q)) - torch.arange(len(k))
        left, right = (math.inf if reach < 0 else reach for reach in window)
        scores.masked_fill_((behind > left) | (-behind > right), -torch.inf)
        # The kernel rounds the weights before the second product, for the tensor cores.
        weights = scores.softmax(-1).nan_to_num(0.0).to(query.dtype).float()
        out[queries] = torch.einsum("nqk,knd->qnd", weights, v).to(query.dtype)
        sums[:, queries] = scores.logsumexp(-1)


def efficient_attention_forward(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """aten::_efficient_attention_forward over sequences that lie one after another.

    Source: _efficient_attention_forward in aten/src/ATen/native/transformers/cuda/attention.cu of pytorch.
    """
    arguments = _by_name(operator, args, kwargs)
    tensors = [arguments[name] for name in ("query", "key", "value")]
    offsets = arguments["cu_seqlens_q"], arguments["cu_seqlens_k"]
    longest = arguments["max_seqlen_q"], arguments["max_seqlen_k"]
    query, key, value = tensors
    causal, window = arguments["custom_mask_type"], arguments["window_size"]
    checks = {
        "query.dim() == 4": all(tensor.dim() == 4 and len(tensor) == 1 for tensor in tensors),
        "query.size(2) == key.size(2)": query.shape[2] == key.shape[2] == value.shape[2],
        "cu_seqlens_q->scalar_type() == at::ScalarType::Int": all(tensor.dtype == torch.int32 for tensor in offsets),
        "query.stride(3) == 1": all(tensor.stride(3) == 1 for tensor in tensors),
        "tensors on CUDA": all(isinstance(tensor, DeviceTensor) for tensor in (*tensors, *offsets)),
        "the simulation knows no other mask": causal in (0, 2) and arguments["bias"] is None,
        "window needs a causal mask": window is None or causal,
    }
    if failed := [message for message, holds in checks.items() if not holds]:
        raise RuntimeError(failed[0])
    launch("_efficient_attention_forward", 1, [*tensors, *offsets])
    out = empty_on_device(query.shape, None, query.dtype)
    padded = -(-longest[0] // 32) * 32
    sums = empty_on_device((len(offsets[0]) - 1, query.shape[2], padded), None, torch.float32)
    if GPU.holds_numbers:
        spans = _spans(offsets, longest, (query.shape[1], key.shape[1]))
        flat = query.numbers.new_empty(query.shape[2], query.shape[1], dtype=torch.float32)
        _attend(
            *(tensor.numbers[0] for tensor in (*tensors, out)),
            flat,
            spans=spans,
            window=(-1 if window is None else window - 1, 0 if causal else -1),
            scale=arguments["scale"] or query.shape[-1] ** -0.5,
        )
        for number, (queries, _) in enumerate(spans):
            sums.numbers[number, :, : queries.stop - queries.start] = flat[:, queries]
    note_written([out, sums])
    unused = empty_on_device((), None, torch.int64)
    return out, sums, unused, unused, *longest


def sdpa_on_device(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """F.scaled_dot_product_attention: one kernel where CUDA has one, else `plain`, torch's own, by operators."""

    def scaled_dot_product_attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        options = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        if not isinstance(query, DeviceTensor) or not _has_fused_kernel(query, key, attn_mask):
            return plain(query, key, value, attn_mask, dropout_p, **options)
        inputs = [tensor for tensor in (query, key, value, attn_mask) if tensor is not None]
        assert all(isinstance(tensor, DeviceTensor) for tensor in inputs), "query, key, value and mask on one device"
        # A mask of bools is first made one of floats.
        launch("sdpa", 1 + (attn_mask is not None and attn_mask.dtype == torch.bool), inputs)
        numbers = [tensor.numbers for tensor in inputs]
        with torch.inference_mode(False), torch.no_grad():
            out = on_device(plain(*numbers, **options))
        note_written([out])
        return out

    return scaled_dot_product_attention


def _has_fused_kernel(query: Tensor, key: Tensor, mask: Tensor | None) -> bool:
    is_flash = query.dtype in HALF and mask is None and query.shape[-1] <= MAX_HEAD_DIM
    # The memory-efficient kernel takes every dtype and any mask, but no grouped heads.
    return (is_flash and GPU.capability >= FLASH_CAPABILITY) or query.shape[1] == key.shape[1]
