"""The device and dtype that "auto" chooses, and the translation of torch's errors."""

import logging
from typing import Any

import numpy as np
import pytest
import torch

from models import DeviceLost, ModelError, OutOfMemory
from models.devices import Staging, check_capability, choose_device, choose_dtype, device_faults, has_varlen, send

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_processor_with_bfloat16_products_runs_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)

    assert choose_dtype("auto", CPU) == torch.bfloat16


def test_a_processor_without_them_runs_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)

    assert choose_dtype("auto", CPU) == torch.float32


def test_float16_is_only_taken_when_asked_and_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_dtype("float16", CPU) == torch.float16
    assert "float16 overflows" in caplog.text


def test_auto_is_the_processor_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert choose_device("auto") == CPU


@pytest.mark.parametrize(("built_for", "warned"), [("12.8", "running on the CPU"), (None, "")])
def test_a_torch_for_cuda_without_a_gpu_does_not_take_the_processor_in_silence(
    built_for: str | None, warned: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)

    with caplog.at_level(logging.WARNING):
        assert choose_device("auto") == CPU

    assert warned in caplog.text
    assert bool(caplog.text) == bool(warned)


@pytest.mark.parametrize(
    ("device", "dtype", "head_dim", "capability", "has"),
    [
        (CUDA, torch.bfloat16, 128, (8, 0), True),
        (CUDA, torch.float16, 256, (9, 0), True),
        (CUDA, torch.bfloat16, 128, (7, 5), False),
        (CUDA, torch.float32, 128, (9, 0), False),
        (CUDA, torch.bfloat16, 264, (9, 0), False),
        (CUDA, torch.bfloat16, 20, (9, 0), False),
        (CPU, torch.bfloat16, 128, (9, 0), False),
    ],
)
def test_varlen_attention_is_there_for_what_its_kernels_take(
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int,
    capability: tuple[int, int],
    has: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    assert has_varlen(device, dtype, head_dim) == has


def test_what_lies_on_the_device_is_not_sent() -> None:
    tensor = torch.ones(3)

    assert send(tensor, CPU) is tensor


@pytest.mark.parametrize("name", ["no_such_device", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_by_name(name: str) -> None:
    with pytest.raises(ModelError, match=f"no device '{name}'"):
        choose_device(name)


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (torch.AcceleratorError("CUDA error: an illegal memory access"), DeviceLost),
        (torch.AcceleratorError("CUDA error: out of memory\nmore"), OutOfMemory),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), OutOfMemory),
        (RuntimeError("could not create a primitive"), OutOfMemory),
        (RuntimeError("could not create a memory object"), OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("shapes do not match"), RuntimeError),
    ],
)
def test_torch_s_errors_are_told_in_the_interface_s_words(error: Exception, meant: Any) -> None:
    with pytest.raises(meant), device_faults():
        raise error


def test_on_the_cpu_nothing_is_staged() -> None:
    staging, array = Staging(torch.device("cpu")), np.array([3, 1], dtype=np.int64)

    tensor = staging.add(array)
    staging.send()

    assert tensor.data_ptr() == array.ctypes.data


def test_a_gpu_that_cannot_be_used_is_told_with_what_to_check(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert choose_device("auto") == CPU

    [message] = caplog.messages
    assert message == (
        "torch finds no usable GPU; running on the CPU; torch's CUDA 13.0 needs NVIDIA's driver 580 or newer, "
        "and a container needs to be given the GPU (--gpus all)"
    )


@pytest.mark.parametrize("built_for", ["13.0", None])
def test_a_gpu_that_is_asked_for_and_missing_is_an_error_that_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, built_for: str | None
) -> None:
    monkeypatch.setattr(torch.version, "cuda", built_for)

    with pytest.raises(ModelError, match="needs NVIDIA's driver 580" if built_for else "this build .* has no CUDA"):
        choose_device("cuda")


BUILT_FOR = ["sm_75", "sm_80", "sm_90a", "sm_120", "compute_120"]


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0), (12, 1), (13, 0)])
def test_a_gpu_that_torch_has_kernels_for_is_accepted(capability: tuple[int, int]) -> None:
    check_capability(capability, BUILT_FOR)


@pytest.mark.parametrize("capability", [(6, 1), (7, 0), (10, 0)])
def test_another_one_is_refused_with_what_torch_was_built_for(capability: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match=r"no kernels for it, only for: sm_75, sm_80, sm_90a, sm_120, compute_120"):
        check_capability(capability, BUILT_FOR)
