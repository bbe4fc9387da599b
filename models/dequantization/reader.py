"""Reads the weights of a checkpoint by name, whatever they are stored as; one tensor at a time."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import EllipsisType
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor

from models.checkpoint.folder import Checkpoint
from models.checkpoint.formats.plan import (
    Blocks,
    Codebook,
    GgmlBlocks,
    Microscaled,
    PackedColumns,
    PackedInputs,
    QuantizedWeight,
    RowScaled,
)
from models.dequantization.bitsandbytes import codebook_rows, scaled_rows
from models.dequantization.blocks import block_rows, packed_column_rows, packed_input_rows
from models.dequantization.ggml import ggml_rows
from models.dequantization.mxfp4 import expert_matrices

ROWS: dict[type, Callable[..., Callable[[int, int], Tensor]]] = {
    Blocks: block_rows,
    PackedColumns: packed_column_rows,
    PackedInputs: packed_input_rows,
    RowScaled: scaled_rows,
    Codebook: codebook_rows,
    GgmlBlocks: ggml_rows,
    Microscaled: expert_matrices,
}
# So many rows at a time stay in the cache of a core: three to five times as fast as a whole matrix.
ROWS_AT_ONCE = 128


def dequantize_weight(weight: QuantizedWeight, parts: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """The plain weight: computed in float32, and rounded to `dtype` once.

    Args:
        weight: its shape and scheme.
        parts: by role, the stored tensors.
        dtype: of the plain weight.
    """
    rows = ROWS[type(weight.scheme)](weight.scheme, weight.shape, parts)
    # A vector is read as a matrix of one column.
    plain = torch.empty(weight.shape if len(weight.shape) > 1 else (*weight.shape, 1), dtype=dtype)
    step = ROWS_AT_ONCE if plain.dim() == 2 else 1
    for start in range(0, len(plain), step):
        stop = min(start + step, len(plain))
        plain[start:stop] = rows(start, stop)
    return plain.view(weight.shape)


class TensorReader:
    """The weights of one checkpoint under their stored names. Files are mapped until close()."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._open = ExitStack()
        self._weights = checkpoint.plan.weights if checkpoint.plan else {}
        self.names = list(checkpoint.tensors)
        self._files: dict[str, Any] = {}
        self._bytes: Tensor | None = None
        self._gguf = checkpoint.gguf
        if self._gguf is not None:
            size = self._gguf.path.stat().st_size
            self._bytes = torch.from_file(str(self._gguf.path), shared=False, size=size, dtype=torch.uint8)
            return
        for file in checkpoint.weight_files:
            tensors = self._open.enter_context(safe_open(file, framework="pt"))
            self._files |= dict.fromkeys(tensors.keys(), tensors)

    def close(self) -> None:
        """Unmap the files. No tensor that was read as it is stored may be used after this."""
        self._open.close()
        self._bytes = None

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        """One weight on the CPU: of `dtype` if it is quantised, else as it is stored, mapped from its file."""
        if (weight := self._weights.get(name)) is None:
            return self._stored(name)
        return dequantize_weight(weight, {role: self._stored(part) for role, part in weight.parts.items()}, dtype)

    def lazy(self, dtype: torch.dtype) -> dict[str, Any]:
        """Every weight as an object that the library's loader reads when it needs it, as it does slices of files."""
        return {
            name: LazyWeight(self, name, weight, dtype)
            if (weight := self._weights.get(name))
            else self._files[name].get_slice(name)
            for name in self.names
        }

    def _stored(self, name: str) -> Tensor:
        if self._bytes is not None and self._gguf is not None:
            place = self._gguf.tensors[name]
            return self._bytes[place.start : place.end]
        return cast("Tensor", self._files[name].get_tensor(name))


class LazyWeight:
    """A quantised weight that is read when it is indexed: what transformers asks of a slice of a safetensors file."""

    def __init__(self, reader: TensorReader, name: str, weight: QuantizedWeight, dtype: torch.dtype) -> None:
        self._reader, self._name, self._shape, self._dtype = reader, name, weight.shape, dtype

    def __getitem__(self, place: EllipsisType | slice | tuple[slice, ...]) -> Tensor:
        """The plain weight, or a part of it."""
        plain = self._reader.read(self._name, self._dtype)
        return plain if place is Ellipsis else plain[place]

    def get_shape(self) -> list[int]:
        """The shape of the plain weight."""
        return list(self._shape)

    def get_dtype(self) -> str:
        """The type of the plain weight, as safetensors calls it."""
        return {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}[self._dtype]
