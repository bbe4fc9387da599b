"""Makes torch's CPU build believe in the simulated GPU, for the whole process; there is no way back."""

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._device import _device_constructors

from models.cuda import choice
from tests.support.simulated_cuda.device import CLOCK_HZ, Event, Stream
from tests.support.simulated_cuda.flash import efficient_attention_forward, flash_attention_forward, sdpa_on_device
from tests.support.simulated_cuda.kernels import SimulatedKernels
from tests.support.simulated_cuda.tensor import CUDA, GPU, SPECIAL, empty_on_device, launch, on_device
from tests.support.simulated_cuda.transfers import copy, is_pinned, pin, register_pinned, to_copy

NAME = "simulated GPU"
# Of c10::DeviceType.
CUDA_NUMBER = 1
MAX_DEVICE_TYPES, MAX_VIRTUAL_METHODS = 32, 64
# Torch keeps what is registered here only as long as these objects live.
_ALIVE: list[object] = []


class CudaEvent(Event):
    """What torch.cuda.Event is then."""

    def __init__(self, **_: Any) -> None:
        super().__init__(GPU)


class CudaStream(Stream):
    """What torch.cuda.Stream is then."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(GPU)


def is_installed() -> bool:
    return bool(_ALIVE)


def install() -> None:
    """Simulate a GPU in this process.

    Raises: RuntimeError: this torch has a real CUDA.
    """
    if is_installed():
        return
    if torch.version.cuda is not None or torch.version.hip is not None:
        message = "the simulated GPU needs torch's CPU build; with a CUDA build run make gpu"
        raise RuntimeError(message)
    SPECIAL.update(copy_=copy, _to_copy=to_copy, _flash_attention_forward=flash_attention_forward)
    SPECIAL.update(_efficient_attention_forward=efficient_attention_forward)
    _register_device_guard()
    _register_factories()
    _replace_torch_cuda()
    _replace_host_functions()
    # A module that moves gets new parameters: one cannot be put into a parameter of the CPU.
    torch.__future__.set_overwrite_module_params_on_conversion(True)


def _register_device_guard() -> None:
    """Give torch a guard for CUDA devices, without which it cannot index a tensor on cuda:0.

    Torch itself puts a guard that does nothing in place of one that counts 0 devices. A CPU build has none that could
    be replaced, so it is given an object whose every virtual method returns 0.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * MAX_DEVICE_TYPES).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    zero = ctypes.CFUNCTYPE(ctypes.c_int8, ctypes.c_void_p)(lambda _: 0)
    methods = (ctypes.c_void_p * MAX_VIRTUAL_METHODS)(*[ctypes.cast(zero, ctypes.c_void_p).value] * MAX_VIRTUAL_METHODS)
    guard = (ctypes.c_void_p * 1)(ctypes.addressof(methods))
    guards[CUDA_NUMBER] = ctypes.addressof(guard)
    _ALIVE.extend((zero, methods, guard))
    torch._C._ensureCUDADeviceGuardSet()
    assert guards[CUDA_NUMBER] != ctypes.addressof(guard), "torch did not replace the guard that has no devices"


def _register_factories() -> None:
    """Torch's factories end in the first two of these, and fill the result by an operator."""
    library = torch.library.Library("aten", "IMPL", "CUDA")

    def empty(size: Any, *, dtype: Any = None, **_: Any) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return empty_on_device(size, None, dtype)

    def empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return empty_on_device(size, stride, dtype)

    def arange(start: Any, end: Any, step: Any = 1, *, dtype: Any = None, **_: Any) -> Tensor:
        # Torch's own resizes an empty result, which these tensors cannot.
        with torch.inference_mode(False), torch.no_grad():
            launch("arange", 1, [])
            return on_device(torch.arange(start, end, step, dtype=dtype))

    library.impl("empty.memory_format", empty)
    library.impl("empty_strided", empty_strided)
    library.impl("arange", lambda end, **options: arange(0, end, **options))
    library.impl("arange.start", arange)
    library.impl("arange.start_step", arange)
    _ALIVE.append(library)


def _replace_torch_cuda() -> None:
    replacements: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "_sleep": lambda cycles: GPU.stream.submit(cycles / CLOCK_HZ),
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda *_, **__: GPU.capability >= (8, 0),
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": _set_device,
        "get_device_capability": lambda _=None: GPU.capability,
        "get_arch_list": lambda: ["sm_75", "sm_80", "sm_90", "compute_90"],
        "get_device_name": lambda _=None: NAME,
        "Event": CudaEvent,
        "Stream": CudaStream,
        "stream": GPU.on,
        "current_stream": lambda _=None: GPU.stream,
        "synchronize": lambda _=None: GPU.wait("torch.cuda.synchronize()"),
        "empty_cache": lambda: None,
        "memory_allocated": lambda _=None: GPU.allocated,
        "max_memory_allocated": lambda _=None: GPU.peak,
        "reset_peak_memory_stats": lambda _=None: GPU.reset_peak(),
        "set_per_process_memory_fraction": lambda share, _=None: GPU.limit_memory(share),
    }
    for name, replacement in replacements.items():
        setattr(torch.cuda, name, replacement)


def _set_device(device: torch.device | int) -> None:
    if isinstance(device, torch.device) and device.index is None:
        raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")


def _replace_host_functions() -> None:
    """Functions of the host that a CPU build refuses, or in which it chooses kernels of the CPU."""
    # Torch notes on first use which functions obey `with torch.device("meta")`: these, not their replacements.
    _device_constructors()
    torch.Tensor.pin_memory = lambda self, _=None: pin(self)
    torch.Tensor.is_pinned = lambda self, _=None: is_pinned(self)
    torch.empty = partial(_pinned_if_asked, torch.empty)
    torch.tensor = partial(_built_on_the_host, torch.tensor)
    torch.Generator = _generator_class(torch.Generator)
    choice.load_kernels = SimulatedKernels
    functional = torch.nn.functional
    functional.scaled_dot_product_attention = sdpa_on_device(functional.scaled_dot_product_attention)


def _pinned_if_asked(plain: Callable[..., Tensor], *size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
    tensor = plain(*size, **options)
    if pin_memory:
        register_pinned(tensor)
    return tensor


def _built_on_the_host(plain: Callable[..., Tensor], data: Any, *, device: Any = None, **options: Any) -> Tensor:
    is_cuda = device is not None and torch.device(device).type == "cuda"
    # As torch does it: built on the host, then copied, and waited for.
    return plain(data, **options).to(CUDA) if is_cuda else plain(data, device=device, **options)


def _generator_class(plain: type[torch.Generator]) -> type[torch.Generator]:
    class Generator(plain):
        """A CPU generator for every device."""

        def __new__(cls, _: Any = "cpu") -> torch.Generator:
            return plain("cpu")

    return Generator
