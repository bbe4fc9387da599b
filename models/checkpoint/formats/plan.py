"""What all formats share: the stored tensors, and the plan that makes one weight of several of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from models.interface import ModelError

Shape: TypeAlias = tuple[int, ...]
# Types of safetensors.
FLOATING_POINT = ("F64", "F32", "F16", "BF16")
FLOAT8 = "F8_E4M3"
# One byte that is a power of two: OCP Microscaling Formats 1.0, E8M0.
POWER_OF_TWO = "F8_E8M0"
# Of an int32 word, into which smaller whole numbers are packed.
WORD_BITS = 32
SCALE_TYPES = (*FLOATING_POINT, POWER_OF_TWO)
# Scales of activations, of keys and of values: activations are not quantised here.
OF_ACTIVATIONS = (
    *("input_scale", "input_zero_point", "input_global_scale", "activation_scale", "output_scale"),
    *("k_scale", "v_scale", "q_scale", "k_zero_point", "v_zero_point"),
)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """The header of one tensor in a file: its type as safetensors or GGUF calls it, and its shape."""

    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Stored:
    """The tensors of a checkpoint as its files hold them.

    read: the bytes of one tensor, for small ones that give shapes.
    """

    path: Path
    tensors: Mapping[str, StoredTensor]
    read: Callable[[str], bytes]

    def refusal(self, reason: str) -> ModelError:
        """The error that says why this checkpoint is refused; raise it."""
        return ModelError(f"{self.path} {reason}")


@dataclass(frozen=True, slots=True)
class Blocks:
    """Numbers, each of which is multiplied by the scale of its block, after its zero point is subtracted.

    rows, columns: of one block; 0 is the whole axis. Blocks at the end may be smaller.
    """

    rows: int
    columns: int

    def grid(self, shape: Shape) -> Shape:
        """How many blocks a matrix has in each direction."""
        return tuple(
            -(-length // size) if size else 1 for length, size in zip(shape, (self.rows, self.columns), strict=True)
        )


@dataclass(frozen=True, slots=True)
class PackedColumns:
    """compressed-tensors' `pack-quantized`: whole numbers of `bits` in int32 words along a row, offset by half."""

    bits: int
    blocks: Blocks


@dataclass(frozen=True, slots=True)
class PackedInputs:
    """GPTQ and AWQ: whole numbers of `bits` in int32 words, stored [inputs, outputs], the transpose of the weight.

    packing: `gptq` packs inputs, `awq` outputs in an order of its own.
    group_inputs: inputs that share a scale; 0 if a tensor gives the group of each.
    zero_offset: is added to each stored zero point.
    """

    packing: Literal["gptq", "awq"]
    bits: int
    group_inputs: int
    zero_offset: int = 0


@dataclass(frozen=True, slots=True)
class RowScaled:
    """bitsandbytes' int8: each row is multiplied by its largest number, and divided by 127."""


@dataclass(frozen=True, slots=True)
class Codebook:
    """bitsandbytes' nf4 and fp4: 4-bit indexes into a table, times the scale of each `block` of numbers.

    nested_block: scales that share a scale of their own; 0 if the scales are plain.
    nested_offset: is added to each such scale.
    """

    block: int
    nested_block: int = 0
    nested_offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Microscaled:
    """MXFP4 as gpt-oss stores it: [experts, outputs, groups, 16 bytes], the transpose of what the network has."""


@dataclass(frozen=True, slots=True)
class GgmlBlocks:
    """A tensor of a GGUF file in one of ggml's block types, such as Q4_K."""

    ggml_type: str
    interleaved_heads: int = 0  # llama.cpp stores q and k of Llama with the halves of each head interleaved


Scheme: TypeAlias = Blocks | PackedColumns | PackedInputs | RowScaled | Codebook | Microscaled | GgmlBlocks


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """One weight as the network has it.

    shape: of the plain weight.
    parts: by role, the names of the stored tensors that it is made of.
    """

    shape: Shape
    parts: Mapping[str, str]
    scheme: Scheme


@dataclass(slots=True)
class Plan:
    """How the stored tensors of a checkpoint become its weights; those not named here are weights as they are.

    method: the name of the format, with what matters of it, for the log and GET /v1/models.
    unread: stored tensors that belong to quantisation, and that nothing needs.
    """

    method: str
    weights: dict[str, QuantizedWeight] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    def add(self, name: str, shape: Shape, scheme: Scheme, parts: Mapping[str, str | None]) -> None:
        """Plan one weight; roles without a tensor are left out."""
        present = {role: part for role, part in parts.items() if part is not None}
        self.weights[name] = QuantizedWeight(shape, present, scheme)

    def plain(self, stored: Stored) -> dict[str, Shape]:
        """Names and shapes of all weights, as the network has them."""
        parts = {part for weight in self.weights.values() for part in weight.parts.values()} | self.unread
        left = {name: tensor.shape for name, tensor in stored.tensors.items() if name not in parts}
        return left | {name: weight.shape for name, weight in self.weights.items()}


def scales_of_activations(stored: Stored) -> set[str]:
    """Tensors that only quantised activations, keys or values need."""
    return {name for name in stored.tensors if name.rsplit(".", 1)[-1] in OF_ACTIVATIONS}


def check_scale(stored: Stored, name: str, shape: Shape, blocks: Blocks) -> None:
    """Refuse scales that are not one for each block of a matrix of this shape.

    Raises: ModelError.
    """
    if len(shape) != 2:
        raise stored.refusal(
            f"holds scales {name} for a tensor of {list(shape)}; only matrices can be read with scales"
        )
    scale, grid = stored.tensors[name], blocks.grid(shape)
    # A single scale, or one for each row, may be stored without the axes of length 1.
    shorter = () if grid == (1, 1) else grid[:1]
    if scale.shape not in (grid, *((shorter, grid[:1]) if grid[1] == 1 else ())):
        kind = f"{blocks.rows or 'all'} x {blocks.columns or 'all'}"
        raise stored.refusal(
            f"holds scales {name} of the shape {list(scale.shape)} for a matrix of {list(shape)}; "
            f"by config.json its blocks are {kind}, which needs {list(grid)}"
        )
    if scale.dtype not in SCALE_TYPES:
        raise stored.refusal(
            f"holds scales of an unknown type: {name} is {scale.dtype}; expected {', '.join(SCALE_TYPES)}"
        )


def one_of(stored: Stored, entries: Mapping[str, Any], key: str, values: tuple[object, ...], default: object) -> Any:
    """An entry of quantization_config that must have one of these values.

    Raises: ModelError.
    """
    value = entries.get(key, default)
    if value not in values or (isinstance(value, bool) != isinstance(values[values.index(value)], bool)):
        expected = ", ".join(repr(item) for item in values)
        raise stored.refusal(
            f"has weights quantised with {key}: {value!r}, which is not supported (supported: {expected})"
        )
    return value


def whole(stored: Stored, entries: Mapping[str, Any], key: str, *, least: int = 1) -> int:
    """A whole number from quantization_config.

    Raises: ModelError: it is missing or anything else.
    """
    value = entries.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise stored.refusal(
            f"needs a whole number of at least {least} for {key} in quantization_config; got {value!r}"
        )
    return int(value)
