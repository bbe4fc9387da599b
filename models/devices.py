"""Which device and dtype a model runs in, and what a device's errors mean. No networks."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.interface import DeviceLost, Dtype, ModelError, OutOfMemory

log = logging.getLogger("hearth.models")

DTYPES: dict[Dtype, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}
# What torch's flash attention takes (aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp, mha_varlen_fwd).
HEAD_STEP, MAX_HEAD = 8, 256
# Memory that ran out in an error of a general class: the CPU allocator's, and those of cuBLAS, cuDNN and oneDNN.
MEMORY_WORDS = (
    "allocate memory",
    "not enough memory",
    "ALLOC_FAILED",
    "bad_alloc",
    "could not create a primitive",
    "could not create a memory",
)


def choose_device(asked: str) -> torch.device:
    """The device asked for; "auto" is CUDA where there is any.

    Raises: ModelError: no such device here.
    """
    if asked == "auto":
        return _cuda_or_cpu()
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"there is no such device here: {asked} ({str(error).splitlines()[0]})") from error
    return device


def _cuda_or_cpu() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.version.cuda is not None:
        log.warning("torch is built for CUDA %s and finds no GPU to use: running on the CPU", torch.version.cuda)
    return torch.device("cpu")


def choose_dtype(asked: Dtype, device: torch.device) -> torch.dtype:
    """The dtype asked for; "auto" is the fastest that the hardware has natively and that no Qwen3 overflows."""
    if asked == "float16":
        log.warning("float16 overflows on ordinary text with some Qwen3 models; bfloat16 and float32 do not")
    if asked != "auto":
        return DTYPES[asked]
    return torch.bfloat16 if has_native_bfloat16(device) else torch.float32


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products run in hardware; emulated ones are slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _cpu_has_bfloat16()


def _cpu_has_bfloat16() -> bool:
    # torch has no public question for this; without an answer float32 is right anywhere.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, question, bool)() for question in questions)


def has_varlen(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether torch's varlen_attn runs there: flash attention on CUDA, in half precision, for heads of its widths."""
    takes_heads = dtype != torch.float32 and head_dim % HEAD_STEP == 0 and head_dim <= MAX_HEAD
    return device.type == "cuda" and takes_heads and torch.cuda.get_device_capability(device) >= (8, 0)


def to_device(array: NDArray[np.int32] | NDArray[np.int64], device: torch.device) -> Tensor:
    """An index array on the device, without waiting for what runs there; on the CPU a view of the array."""
    return send(torch.from_numpy(array), device)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device, without waiting for what runs there; itself if that is where it lies."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        # A copy from pageable memory would wait.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def device_faults() -> Iterator[None]:
    """Turn torch's errors into those of the interface.

    Raises: OutOfMemory, DeviceLost: see models.interface; other errors pass as they are.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(_first_line(error)) from error
    except torch.AcceleratorError as error:
        # CUDA's own calls say it like this; torch's allocator has a class for it.
        kind = OutOfMemory if "out of memory" in str(error) else DeviceLost
        raise kind(_first_line(error)) from error
    except RuntimeError as error:
        if any(words in str(error) for words in MEMORY_WORDS):
            raise OutOfMemory(_first_line(error)) from error
        raise
    except MemoryError as error:
        raise OutOfMemory("the host has no memory left") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
