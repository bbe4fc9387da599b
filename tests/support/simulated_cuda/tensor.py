"""Tensors of the simulated GPU: torch takes them for tensors on cuda:0, and their numbers lie in a tensor on the CPU.

Torch hands every operator on such a tensor to run(), which computes it on the CPU, counts its kernels, and complains as
CUDA does: about tensors of two devices, and about operators whose result the host must know (counted as waits).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import varlen
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.support.simulated_cuda.device import KERNEL_S, Memory, SimulatedGpu, SimulatedRace

# There is one in a process, because torch has one table of operators.
GPU = SimulatedGpu()
CUDA = torch.device("cuda", 0)

# Kernels of operators that launch another number than one, by aten's CUDA sources.
KERNELS = {"masked_fill": 2, "cumsum": 2, "logsumexp": 4, "nonzero": 4, "sort": 6, "_flash_attention_forward": 1}
NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh"}
# The size or the value of the result depends on numbers, so the host waits for them.
WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount"),
    *("_unique2", "unique_dim", "unique_consecutive", "repeat_interleave.Tensor"),
}
# The cards on which aten multiplies groups of bfloat16 matrices without asking the device for their sizes.
GROUPED_PRODUCT_CAPABILITIES = ((9, 0), (10, 0))
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
# Results that share the memory of their input though the operator's schema does not say so.
ALIASES = {"_unsafe_view", "lift_fresh"}
# What only CUDA computes, by what the CPU can.
SUBSTITUTES = {"histc": lambda tensor, *args, **kwargs: tensor.float().histc(*args, **kwargs).to(tensor.dtype)}
# A large number where an index is expected fails loudly, also if its bytes were allocated as such.
POISON_INTEGER, POISON_BYTE = 2**30, 0x40

Operator = Callable[..., Any]
# Operators of which more is simulated than their numbers; install() enters them.
SPECIAL: dict[str, Operator] = {}


class DeviceTensor(Tensor):
    """A tensor on cuda:0. `numbers` lie on the CPU; without numbers, on torch's device "meta"."""

    numbers: Tensor
    memory: Memory

    @staticmethod
    def __new__(cls, numbers: Tensor, memory: Memory) -> "DeviceTensor":
        tensor = Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=CUDA,
        )
        tensor.numbers, tensor.memory = numbers, memory
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, operator: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return run(operator, args, kwargs or {})

    def __repr__(self) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """As Tensor.to(); "cuda" means cuda:0, so that nothing is copied that is there already."""
        args = tuple(_with_index(arg) for arg in args)
        return super().to(*args, **{name: _with_index(value) for name, value in kwargs.items()})

    def __getitem__(self, index: Any) -> Tensor:
        """As torch does it, an index that is a list becomes a tensor of the host, which is copied."""
        parts = index if isinstance(index, tuple) else (index,)
        return super().__getitem__(tuple(torch.tensor(part) if isinstance(part, list) else part for part in parts))

    def tolist(self) -> Any:
        """Torch would read the storage."""
        return self.cpu().tolist()

    def data_ptr(self) -> int:
        """A number for each place in memory, as on a device."""
        return self.numbers.data_ptr()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, tensor: "DeviceTensor") -> None:
        torch._C.TensorBase.data.__set__(self, tensor)
        self.numbers, self.memory = tensor.numbers, tensor.memory


def _with_index(argument: Any) -> Any:
    return CUDA if isinstance(argument, str | torch.device) and torch.device(argument).type == "cuda" else argument


def on_device(numbers: Tensor, memory: Memory | None = None) -> DeviceTensor:
    """A device tensor of these numbers, in new memory unless it is a view of `memory`."""
    if not GPU.holds_numbers:
        numbers = numbers.to("meta")
    # Outside inference mode: torch gives inference tensors no version, which parameters need.
    with torch.inference_mode(False), torch.no_grad():
        return DeviceTensor(numbers, memory or Memory(GPU, numbers.untyped_storage().nbytes()))


def empty_on_device(size: Sequence[int], stride: Sequence[int] | None, dtype: torch.dtype | None) -> DeviceTensor:
    """New device memory, which holds NaN, so that a read before the first write shows."""
    device = "cpu" if GPU.holds_numbers else "meta"
    dtype = dtype or torch.get_default_dtype()
    if stride is None:
        numbers = torch.empty(size, dtype=dtype, device=device)
    else:
        numbers = torch.empty_strided(size, stride, dtype=dtype, device=device)
    return on_device(poison(numbers))


def poison(tensor: Tensor) -> Tensor:
    """Overwrite a CPU tensor with what nobody takes for a result."""
    if tensor.dtype.is_floating_point:
        return tensor.fill_(torch.nan)
    if tensor.dtype == torch.bool:
        return tensor
    return tensor.fill_(
        POISON_BYTE if tensor.element_size() == 1 else min(POISON_INTEGER, torch.iinfo(tensor.dtype).max)
    )


def numbers_of(value: Any) -> Any:
    """Arguments of an operator, with the numbers in place of device tensors."""
    return tree_map_only(DeviceTensor, lambda tensor: tensor.numbers, value)


def name_of(operator: Any) -> str:
    name = str(operator._schema.name).split("::")[1]
    overload = operator._overloadname
    return f"{name}.{overload}" if f"{name}.{overload}" in WAITING else name


def run(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run one operator of torch that has a device tensor among its arguments."""
    name = name_of(operator)
    if name in SPECIAL:
        return SPECIAL[name](operator, args, kwargs)
    if operator.namespace == "torch_attn":
        # Torch's own Python code, which ends in the flash attention of aten.
        return getattr(varlen, name)._init_fn(*args, **kwargs)
    if _is_composite(operator):
        return operator.decompose(*args, **kwargs)
    with torch.inference_mode(False), torch.no_grad():
        return _run_kernel(operator, name, args, kwargs)


@cache
def _is_composite(operator: Any) -> bool:
    """Whether torch knows it only as a function of other operators; in inference mode it leaves that to us."""
    key = "CompositeImplicitAutograd"
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(operator.name(), key))


def _run_kernel(operator: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    on_gpu = [tensor for tensor in inputs if isinstance(tensor, DeviceTensor)]
    _check_devices(name, inputs)
    kwargs = {key: value for key, value in kwargs.items() if key != "pin_memory"}
    if "device" in kwargs:
        kwargs["device"] = on_gpu[0].numbers.device
    if _waits(name, args):
        GPU.wait(f"{name} waits for its result")
    launch(name, KERNELS.get(name, int(name not in NO_KERNEL)) * (not _is_view(operator)), on_gpu)
    result = SUBSTITUTES.get(name, operator)(*numbers_of(args), **numbers_of(kwargs))
    if (written := _written(operator, args, kwargs)) is not None:
        return _written_result(operator, written)
    if name in ("_local_scalar_dense", "is_nonzero", "equal"):
        return result
    if _is_view(operator) or name in ALIASES:
        return tree_map_only(Tensor, lambda tensor: on_device(tensor, on_gpu[0].memory), result)
    return tree_map_only(Tensor, lambda tensor: _new(tensor, name), result)


def _new(numbers: Tensor, name: str) -> DeviceTensor:
    tensor = on_device(poison(numbers) if name in NO_KERNEL and GPU.holds_numbers else numbers)
    note_written([tensor])
    return tensor


def launch(name: str, kernels: int, inputs: Sequence[DeviceTensor]) -> None:
    """Submit the kernels of an operator, which read `inputs`, to the current stream.

    Raises: SimulatedRace: an input was written on another stream, and no event says that it is complete.
    """
    for tensor in inputs:
        written = tensor.memory.written
        if written is not None and not GPU.stream.is_after(*written):
            raise SimulatedRace("a stream reads what another one writes, and no event orders one after the other")
    if kernels:
        GPU.counts.operators[name] += kernels
        GPU.stream.submit(kernels * KERNEL_S)


def note_written(tensors: Sequence[DeviceTensor]) -> None:
    """Note that the work submitted last wrote these tensors."""
    for tensor in tensors:
        tensor.memory.written = GPU.stream, GPU.stream.ends_s


def _check_devices(name: str, inputs: Sequence[Tensor]) -> None:
    # Numbers without dimensions travel as arguments of the kernel.
    if not any(tensor.dim() and not isinstance(tensor, DeviceTensor) for tensor in inputs):
        return
    if name not in INDEXING:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({name})"
        )
    GPU.counts.copies_in += 1
    GPU.wait(f"{name} copies an index from the host")


def _waits(name: str, args: Sequence[Any]) -> bool:
    if name == "_grouped_mm":
        return args[0].dtype != torch.bfloat16 or GPU.capability not in GROUPED_PRODUCT_CAPABILITIES
    return name in WAITING or (name in INDEXING and _has_mask(args[1]))


def _has_mask(indexes: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indexes)


@cache
def _is_view(operator: Any) -> bool:
    schema = operator._schema
    writes = any(argument.alias_info is not None and argument.alias_info.is_write for argument in schema.arguments)
    return not writes and any(value.alias_info is not None for value in schema.returns)


def _written(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[DeviceTensor] | None:
    """The arguments that the operator writes; None if it returns new tensors."""
    arguments = list(enumerate(operator._schema.arguments))
    places = [(n, a.name) for n, a in arguments if a.alias_info is not None and a.alias_info.is_write]
    if not places:
        return None
    written = [args[number] if number < len(args) else kwargs[name] for number, name in places]
    # A wrapper keeps the shape that it was made with.
    assert all(tensor.shape == tensor.numbers.shape for tensor in written), f"the simulation cannot resize: {operator}"
    note_written(written)
    return written


def _written_result(operator: Any, written: list[DeviceTensor]) -> Any:
    returns = len(operator._schema.returns)
    return None if not returns else written[0] if returns == 1 else tuple(written)
