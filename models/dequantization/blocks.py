"""Numbers with a scale for each block: FP8, int8, and whole numbers packed into int32 words by rows or by columns."""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from models.checkpoint.formats.plan import WORD_BITS, Blocks, PackedColumns, PackedInputs, Shape

# Float32 rows [stop - start, columns] of a plain weight.
Rows: TypeAlias = Callable[[int, int], Tensor]
# AutoAWQ, pack(): the places of eight neighbouring columns in a word.
AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
NAN_BITS = 0x7F


def block_rows(scheme: Blocks, shape: Shape, parts: Mapping[str, Tensor]) -> Rows:
    """Rows of a matrix whose numbers are stored one by one, of any type."""
    numbers, grid = parts["weight"], scheme.grid(shape)
    scale = parts["scale"].float().reshape(grid)
    zero = parts["zero"].float().reshape(grid) if "zero" in parts else None

    def rows(start: int, stop: int) -> Tensor:
        read = to_float32(numbers[start:stop])
        if zero is not None:
            read = read - _spread(zero, scheme, start, stop, shape[1])
        return read.mul_(_spread(scale, scheme, start, stop, shape[1]))

    return rows


def packed_column_rows(scheme: PackedColumns, shape: Shape, parts: Mapping[str, Tensor]) -> Rows:
    """Rows of compressed-tensors' packed matrices: words [rows, columns / numbers in a word]."""
    words, bits, columns, blocks = parts["weight"], scheme.bits, shape[1], scheme.blocks
    # Stored without a sign: half of the range stands for 0.
    half, grid = 1 << (bits - 1), blocks.grid(shape)
    scale, zero = parts["scale"].float().reshape(grid), None
    if "zero" in parts:
        packed = parts["zero"].reshape(-1, grid[1])
        zero = unpack(packed.T, bits).T[: grid[0]].float() - half
    groups = _groups(parts.get("group_of_column"))

    def rows(start: int, stop: int) -> Tensor:
        read = unpack(words[start:stop], bits)[:, :columns].float().sub_(half)
        if zero is not None:
            read.sub_(_of_columns(zero, blocks, start, stop, columns, groups))
        return read.mul_(_of_columns(scale, blocks, start, stop, columns, groups))

    return rows


def packed_input_rows(scheme: PackedInputs, shape: Shape, parts: Mapping[str, Tensor]) -> Rows:
    """Rows of the matrices of GPTQ and AWQ, whose words are stored [inputs, outputs]."""
    outputs, inputs = shape
    words, zeros, scales = parts["weight"], parts["zero"], parts["scale"].float()
    # The formats take one from each zero point, and a zero point of 0 borrows from its neighbour in the word.
    zeros = zeros + scheme.zero_offset * ((2**WORD_BITS - 1) // (2**scheme.bits - 1))
    zeros = _unpack_outputs(zeros, scheme)[:, :outputs].float()
    groups = _groups(parts.get("group_of_column"))
    if groups is None:
        groups = torch.arange(inputs) // (scheme.group_inputs or inputs)
    per_word = WORD_BITS // scheme.bits

    def rows(start: int, stop: int) -> Tensor:
        if scheme.packing == "gptq":
            read = unpack(words[:, start:stop].T, scheme.bits)[:, :inputs].T
        else:
            read = _unpack_outputs(words[:, start // per_word : -(-stop // per_word)], scheme)
        return ((read.float() - zeros[groups, start:stop]) * scales[groups, start:stop]).T

    return rows


def to_float32(numbers: Tensor) -> Tensor:
    """Any numbers as float32, exactly; FP8 by moving its bits, which takes a third of the time of torch's own cast."""
    if numbers.dtype != torch.float8_e4m3fn:
        return numbers.float()
    bits = numbers.view(torch.uint8).to(torch.int16)
    magnitude = bits & NAN_BITS
    if bool((magnitude == NAN_BITS).any()):
        return numbers.float()
    # The exponent of bfloat16 has four bits more, so its bias of 127 is 120 more than that of E4M3.
    widened = (((bits & 0x80) << 8) | (magnitude << 4)).view(torch.bfloat16)
    return widened.float().mul_(math.ldexp(1.0, 120))


def unpack(words: Tensor, bits: int) -> Tensor:
    """Whole numbers of `bits` from int32 words [n, w], the lowest bits first, int32 [n, w * 32 / bits]."""
    shifts = torch.arange(0, WORD_BITS, bits, dtype=torch.int32)
    return ((words.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)).flatten(1)


def _unpack_outputs(words: Tensor, scheme: PackedInputs) -> Tensor:
    numbers = unpack(words, scheme.bits)
    if scheme.packing == "gptq":
        return numbers
    eights: Tensor = numbers.unflatten(1, (-1, len(AWQ_ORDER)))[..., list(AWQ_ORDER)]
    return eights.flatten(1)


def _groups(group_of_column: Tensor | None) -> Tensor | None:
    """The group of each column; None where they follow one another. A file without an order may hold -1."""
    if group_of_column is None or bool((group_of_column < 0).any()):
        return None
    return group_of_column.long()


def _spread(grid: Tensor, blocks: Blocks, start: int, stop: int, columns: int) -> Tensor:
    """The entry of the grid for each number of the rows; of length 1 along an axis that all share."""
    rows = grid[torch.arange(start, stop) // blocks.rows] if blocks.rows else grid
    return rows.repeat_interleave(blocks.columns, 1)[:, :columns] if blocks.columns else rows


def _of_columns(grid: Tensor, blocks: Blocks, start: int, stop: int, columns: int, groups: Tensor | None) -> Tensor:
    if groups is None:
        return _spread(grid, blocks, start, stop, columns)
    return grid[start:stop, groups]
