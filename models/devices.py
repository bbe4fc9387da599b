"""Chooses the device and dtype of a model, copies tensors there, and translates the device's errors. No networks."""

import logging
import re
from collections.abc import Iterator, Sequence
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
# The head widths that torch's flash attention supports: mha_varlen_fwd in
# aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp of pytorch.
HEAD_DIM_MULTIPLE, MAX_HEAD_DIM = 8, 256
# The oldest drivers for a version of CUDA: table 2 of NVIDIA's CUDA release notes.
DRIVERS = {"12": 525, "13": 580}
ARCHITECTURE = re.compile(r"\b(sm|compute)_(\d+)")
# Index arrays of one batch of 16,384 tokens take 1 to 2 MiB; those of a larger batch take further buffers.
STAGING_BYTES = 4 * 2**20
# A tensor of any dtype may start here.
STAGING_ALIGNMENT = 16
# Messages of RuntimeErrors that mean out of memory: from the CPU allocator, cuBLAS, cuDNN and oneDNN.
OUT_OF_MEMORY_WORDS = (
    "allocate memory",
    "not enough memory",
    "ALLOC_FAILED",
    "bad_alloc",
    "could not create a primitive",
    "could not create a memory",
)


def choose_device(name: str) -> torch.device:
    """The device of this name; "auto" is CUDA if there is a usable GPU, else the CPU.

    Raises: ModelError: this machine has no such device, or this build of torch no kernels for it.
    """
    # Sums of products stay float32 to their end also where cuBLAS splits a product.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    if name == "auto":
        return _cuda_or_cpu()
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        needs = _gpu_needs() if name.startswith("cuda") else ""
        raise ModelError(f"this machine has no device {name!r}: {str(error).splitlines()[0]}{needs}") from error
    if device.type == "cuda":
        check_capability(torch.cuda.get_device_capability(device), torch.cuda.get_arch_list())
    if device.type == "cuda" and device.index is not None:
        # Operators go by their tensors, but cuBLAS's workspaces, memory figures and compiled kernels by this.
        torch.cuda.set_device(device)
    return device


def limit_gpu_memory(device: torch.device, share: float) -> None:
    """Let this process use no more than this share of the memory of a GPU; nothing on other devices."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(share, device)


def _cuda_or_cpu() -> torch.device:
    if torch.cuda.is_available():
        return choose_device("cuda")
    if torch.version.cuda is not None:
        log.warning("torch finds no usable GPU; running on the CPU%s", _gpu_needs())
    return torch.device("cpu")


def _gpu_needs() -> str:
    if torch.version.cuda is None:
        return "; this build of torch has no CUDA"
    driver = DRIVERS.get(torch.version.cuda.split(".")[0])
    newer = f"NVIDIA's driver {driver} or newer" if driver else "NVIDIA's driver"
    return f"; torch's CUDA {torch.version.cuda} needs {newer}, and a container needs to be given the GPU (--gpus all)"


def check_capability(capability: tuple[int, int], architectures: Sequence[str]) -> None:
    """Refuse a GPU that no kernel of this build of torch runs on; without this, the first kernel would fail.

    Args:
        capability: of the GPU.
        architectures: that torch was compiled for, such as sm_80 (for 8.0 and newer with the same first number) and
            compute_90 (for anything newer).

    Raises: ModelError.
    """
    major, minor = capability
    built = [(kind, divmod(int(number), 10)) for kind, number in ARCHITECTURE.findall(" ".join(architectures))]
    runs = [least <= capability and (kind == "compute" or least[0] == major) for kind, least in built]
    if built and not any(runs):
        raise ModelError(
            f"the GPU has compute capability {major}.{minor}, and this build of torch has no kernels for it, "
            f"only for: {', '.join(architectures)}; use another GPU, another build of torch, or device: cpu"
        )


def choose_dtype(name: Dtype, device: torch.device) -> torch.dtype:
    """The dtype of this name; "auto" is bfloat16 where the hardware computes it natively, else float32.

    "auto" is never float16, which overflows in some Qwen3 models.
    """
    if name == "float16":
        log.warning("float16 overflows on ordinary text with some Qwen3 models; bfloat16 and float32 do not")
    if name != "auto":
        return DTYPES[name]
    return torch.bfloat16 if has_native_bfloat16(device) else torch.float32


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products run in hardware; emulated ones are slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _cpu_has_bfloat16()


def _cpu_has_bfloat16() -> bool:
    # torch has no public function for this. Where these are missing, the answer is no: float32 works everywhere.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def has_varlen(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether torch's varlen_attn can run: flash attention on CUDA, in half precision, for supported head widths."""
    supports_heads = dtype != torch.float32 and head_dim % HEAD_DIM_MULTIPLE == 0 and head_dim <= MAX_HEAD_DIM
    return device.type == "cuda" and supports_heads and torch.cuda.get_device_capability(device) >= (8, 0)


def to_device(array: NDArray[np.int32] | NDArray[np.int64], device: torch.device) -> Tensor:
    """An index array on the device, without waiting for the kernels that run there; on the CPU a view of the array."""
    return send(torch.from_numpy(array), device)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device, without waiting for the kernels that run there; itself if it is there already."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        # A copy from pageable memory would wait for them.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Staging:
    """Gathers the index arrays of one batch, so that a GPU gets them by one copy from one pinned buffer.

    Use each object for one batch, in one mode of torch (inference or not).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # Buffers of the host and of the device, and how many of their bytes are taken.
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._taken: list[int] = []

    def add(self, array: NDArray[np.int32] | NDArray[np.int64]) -> Tensor:
        """The array's tensor on the device, whose numbers are there for work that is launched after send()."""
        if self.device.type != "cuda":
            return to_device(array, self.device)
        start = self._room_for(array.nbytes)
        host, device = (buffer[start : start + array.nbytes] for buffer in self._buffers[-1])
        host.numpy()[:] = array.reshape(-1).view(np.uint8)
        return device.view(torch.from_numpy(array[:0]).dtype).view(array.shape)

    def send(self) -> None:
        """Copy what was added, without waiting for the kernels that run on the device."""
        for (host, device), taken in zip(self._buffers, self._taken, strict=True):
            device[:taken].copy_(host[:taken], non_blocking=True)

    def _room_for(self, size: int) -> int:
        """Take `size` bytes of the last buffer, or of a new one if they do not fit, and return where they start."""
        if not self._buffers or self._taken[-1] + size > len(self._buffers[-1][0]):
            length = max(size, STAGING_BYTES)
            host = torch.empty(length, dtype=torch.uint8, pin_memory=True)
            self._buffers.append((host, torch.empty(length, dtype=torch.uint8, device=self.device)))
            self._taken.append(0)
        start = self._taken[-1]
        self._taken[-1] += -(-size // STAGING_ALIGNMENT) * STAGING_ALIGNMENT
        return start


@contextmanager
def device_faults() -> Iterator[None]:
    """Translate torch's errors of the device.

    Raises: OutOfMemory, DeviceLost: see models.interface. Other errors pass unchanged.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(_first_line(error)) from error
    except torch.AcceleratorError as error:
        # torch's allocator has a class for it; calls of CUDA itself say it in the message only.
        error_type = OutOfMemory if "out of memory" in str(error) else DeviceLost
        raise error_type(_first_line(error)) from error
    except RuntimeError as error:
        if any(words in str(error) for words in OUT_OF_MEMORY_WORDS):
            raise OutOfMemory(_first_line(error)) from error
        raise
    except MemoryError as error:
        raise OutOfMemory("the host has no memory left") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
