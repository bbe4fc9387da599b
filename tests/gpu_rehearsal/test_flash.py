"""Torch's varlen_attn on the simulated GPU: right numbers, and the refusals of flash attention's C++ code."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen
from torch.nn.attention.varlen import AuxRequest, varlen_attn

from models.devices import Staging
from models.layers import varlen_attention
from models.layers.attention import prepare
from models.layers.efficient_attention import efficient
from models.packing import pack
from tests.support.simulated_cuda.device import Counts
from tests.support.simulated_cuda.tensor import CUDA, GPU

LENGTHS = (3, 1, 5)


def offsets(*lengths: int, dtype: torch.dtype = torch.int32, device: str = "cuda") -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(dtype).to(device)


def heads(count: int, width: int = 16, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(sum(LENGTHS), count, width, device="cuda", dtype=dtype)


def attend(**changes: Any) -> Any:
    """A call that is right, but for the changes."""
    arguments = {
        "query": heads(4),
        "key": heads(2),
        "value": heads(2),
        "cu_seq_q": offsets(*LENGTHS),
        "cu_seq_k": offsets(*LENGTHS),
        "max_q": max(LENGTHS),
        "max_k": max(LENGTHS),
        "enable_gqa": True,
        "window_size": (-1, 0),
    }
    return varlen_attn(**arguments | changes)


def test_each_sequence_attends_to_itself_causally() -> None:
    query, key, value = heads(4), heads(2), heads(2)

    out, sums = attend(query=query, key=key, value=value, return_aux=AuxRequest(lse=True))

    q, k, v = (
        tensor.cpu().float()[3:4].repeat_interleave(4 // tensor.shape[1], 1)[0] for tensor in (query, key, value)
    )
    assert torch.allclose(out.cpu()[3].float(), v, atol=1e-2)
    assert torch.allclose(sums.cpu()[:, 3], (q * k).sum(1) / 4, atol=1e-4)
    assert not out.isnan().any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda: {"query": heads(4, dtype=torch.float32)}, "only support fp16 and bf16"),
        (lambda: {"key": heads(2, dtype=torch.float16)}, "same dtype"),
        (lambda: {"query": heads(32).view(9, 16, 32).transpose(1, 2)[:, :4]}, "contiguous last dimension"),
        (lambda: {"cu_seq_q": offsets(*LENGTHS, dtype=torch.int64)}, "dtype int32"),
        (lambda: {"cu_seq_k": offsets(*LENGTHS, device="cpu")}, "on CUDA device"),
        (lambda: {"cu_seq_q": offsets(*LENGTHS).repeat_interleave(2, output_size=8)[::2]}, "contiguous"),
        (lambda: {"cu_seq_q": offsets(9)}, r"shape \(batch_size \+ 1\)"),
        (lambda: {name: heads(2, 264) for name in ("query", "key", "value")}, "at most 256"),
        (lambda: {name: heads(2, 12) for name in ("query", "key", "value")}, "multiple of 8"),
        (lambda: {"value": heads(4)}, "k and v must have shape"),
    ],
    ids=["float32", "dtypes", "strides", "int64", "host", "gaps", "batch", "wide", "odd", "values"],
)
def test_what_the_kernel_refuses_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        attend(**changes())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda: {"max_q": 4}, "has 5 rows, max_seqlen is 4"),
        (lambda: {"cu_seq_k": offsets(3, 1, 4)}, "do not cover 9 rows"),
    ],
    ids=["longest", "uncovered"],
)
def test_what_the_kernel_leaves_undefined_is_an_error(changes: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        attend(**changes())


def test_attention_in_float32_takes_as_many_kernels_however_many_texts_there_are() -> None:
    def counted(texts: int) -> Counts:
        layout = pack([np.arange(number, number + 8, dtype=np.int32) for number in range(texts)]).layout
        staging = Staging(CUDA)
        attention = prepare(layout, staging, torch.float32, 16)
        staging.send()
        query, key, value = (torch.randn(8 * texts, heads, 16, device="cuda") for heads in (4, 2, 2))
        with GPU.counting() as counts:
            attention(query, [(key, value)])
        return counts

    few, many = counted(2), counted(60)

    assert few.kernels == many.kernels <= 12
    assert (many.waits, many.copies_in) == ([], 0)


def test_a_window_to_both_sides_is_none_of_the_memory_efficient_kernel() -> None:
    with pytest.raises(NotImplementedError, match="no window of 3 tokens to the left and 3"):
        efficient(heads(4), heads(4), heads(4), (offsets(*LENGTHS),) * 2, (5, 5), window=(3, 3))


def test_older_gpus_have_no_flash_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GPU, "capability", (7, 5))

    with pytest.raises(AssertionError, match="Ampere"):
        attend()


def test_the_signature_of_torch_2_11_gives_the_same_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, cu_seqlens, longest = (heads(4), heads(2), heads(2)), (offsets(*LENGTHS),) * 2, (max(LENGTHS),) * 2
    out, sums = varlen_attention.varlen(*tensors, cu_seqlens, longest, window=(-1, 0))

    def without_grouped_heads(*args: Any, return_aux: AuxRequest, scale: float | None, window_size: Any) -> Any:
        return varlen_attn(*args, return_aux=return_aux, scale=scale, window_size=window_size, enable_gqa=True)

    monkeypatch.setattr(varlen, "varlen_attn", without_grouped_heads)
    monkeypatch.setattr(varlen_attention, "_parameters", lambda: {"return_aux", "scale", "window_size"})
    old_out, old_sums = varlen_attention.varlen(*tensors, cu_seqlens, longest, window=(-1, 0))

    assert torch.equal(old_out.cpu(), out.cpu())
    assert torch.equal(old_sums.cpu(), sums.cpu())
    assert sums.shape == (9, 4)
