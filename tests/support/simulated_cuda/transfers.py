"""Copies between the host and the simulated GPU, and pinned memory. What the host sees of a copy happens in its time.

As in CUDA, a copy waits unless it is asked not to (non_blocking) and the host's side of it is pinned.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from tests.support.simulated_cuda.device import SimulatedRace
from tests.support.simulated_cuda.tensor import GPU, DeviceTensor, launch, note_written, on_device, poison

# By address.
_PINNED: dict[int, StorageWeakRef] = {}


def pin(tensor: Tensor) -> Tensor:
    """A copy in pinned memory, as Tensor.pin_memory(); the tensor itself if it is pinned."""
    if is_pinned(tensor):
        return tensor
    pinned = tensor.contiguous().clone()
    register_pinned(pinned)
    return pinned


def register_pinned(tensor: Tensor) -> None:
    """Treat the memory of this CPU tensor as pinned, as long as it lives."""
    for address in [address for address, storage in _PINNED.items() if storage.expired()]:
        del _PINNED[address]
    storage = tensor.untyped_storage()
    _PINNED[storage.data_ptr()] = StorageWeakRef(storage)
    GPU.counts.pinned_buffers += 1


def is_pinned(tensor: Tensor) -> bool:
    if isinstance(tensor, DeviceTensor) or tensor.is_meta:
        return False
    storage = _PINNED.get(tensor.untyped_storage().data_ptr())
    return storage is not None and not storage.expired()


def copy(_: object, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    target, source, *rest = args
    non_blocking = bool(rest[0] if rest else kwargs.get("non_blocking", False))
    with torch.inference_mode(False), torch.no_grad():
        if not isinstance(target, DeviceTensor):
            _to_host(target, source, non_blocking=non_blocking)
        elif isinstance(source, DeviceTensor):
            launch("copy_", 1, [source])
            target.numbers.copy_(source.numbers)
            note_written([target])
        else:
            _to_gpu(target, source, non_blocking=non_blocking)
    return target


def to_copy(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    source: DeviceTensor = args[0]
    device, dtype = kwargs.get("device"), kwargs.get("dtype") or source.dtype
    with torch.inference_mode(False), torch.no_grad():
        if device is None or torch.device(device).type == "cuda":
            launch("_to_copy", 1, [source])
            options = {key: value for key, value in kwargs.items() if key in ("dtype", "memory_format")}
            tensor = on_device(operator(source.numbers, **options))
            note_written([tensor])
            return tensor
        non_blocking = bool(kwargs.get("non_blocking", False))
        host = torch.empty(source.shape, dtype=source.dtype)
        if non_blocking:
            register_pinned(host)  # as torch does
        _to_host(host, source, non_blocking=non_blocking)
        return host if dtype == host.dtype else host.to(dtype)


def _to_gpu(target: DeviceTensor, source: Tensor, *, non_blocking: bool) -> None:
    GPU.counts.copies_in += 1
    if not (non_blocking and is_pinned(source)):
        GPU.wait(
            "a copy to the device from memory that is not pinned" if non_blocking else "a blocking copy to the device"
        )
        GPU.stream.submit(0.0)
    elif GPU.holds_numbers:
        sent = source.detach().clone()

        def arrival() -> None:
            if not torch.equal(source.view(torch.uint8), sent.view(torch.uint8)):
                raise SimulatedRace("the host changed a pinned buffer before its copy to the device was over")

        GPU.arrive(arrival)
    if GPU.holds_numbers:
        target.numbers.copy_(source.detach())
    note_written([target])


def _to_host(target: Tensor, source: DeviceTensor, *, non_blocking: bool) -> None:
    GPU.counts.copies_out += 1
    launch("copy_", 0, [source])
    numbers = source.numbers.clone() if GPU.holds_numbers else torch.zeros(source.shape, dtype=source.dtype)
    if non_blocking and is_pinned(target):
        # Whoever reads it too early reads NaN.
        poison(target)
        GPU.arrive(partial(target.copy_, numbers))
    else:
        GPU.wait(
            "a copy to the host, into memory that is not pinned" if non_blocking else "a blocking copy to the host"
        )
        target.copy_(numbers)
