"""Weights of bitsandbytes: int8 by rows, and 4-bit indexes into a table."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.checkpoint.formats.plan import Codebook, RowScaled, Shape
from models.dequantization.blocks import Rows

# bitsandbytes, int8_vectorwise_dequant(): it multiplies by 1 / 127, which rounds otherwise than a division.
PER_STEP = 0.007874015748031496


def scaled_rows(scheme: RowScaled, shape: Shape, parts: Mapping[str, Tensor]) -> Rows:
    """Rows of an int8 matrix."""
    del scheme
    numbers, scale = parts["weight"], parts["scale"].float().reshape(shape[0], 1)
    return lambda start, stop: numbers[start:stop].float().mul_(scale[start:stop]).mul_(PER_STEP)


def codebook_rows(scheme: Codebook, shape: Shape, parts: Mapping[str, Tensor]) -> Rows:
    """Rows of an nf4 or fp4 matrix. Its blocks run on from one row into the next."""
    # The weight may be stored as another type of the same bytes.
    packed, table = parts["weight"].contiguous().view(torch.uint8).flatten(), parts["table"].float()
    scales, columns = _scales(scheme, parts), shape[1]

    def rows(start: int, stop: int) -> Tensor:
        first, last = start * columns, stop * columns
        pairs = packed[first // 2 : -(-last // 2)]
        # The higher four bits come first.
        codes = torch.stack((pairs >> 4, pairs & 15), 1).flatten()[first % 2 :][: last - first]
        block = scales[first // scheme.block : -(-last // scheme.block)].repeat_interleave(scheme.block)
        read = table[codes.int()].mul_(block[first % scheme.block :][: last - first])
        return read.view(stop - start, columns)

    return rows


def _scales(scheme: Codebook, parts: Mapping[str, Tensor]) -> Tensor:
    scales = parts["scale"].flatten()
    if not scheme.nested_block:
        return scales.float()
    nested = parts["nested_scale"].float().repeat_interleave(scheme.nested_block)[: len(scales)]
    return parts["nested_table"].float()[scales.int()].mul_(nested).add_(scheme.nested_offset)
