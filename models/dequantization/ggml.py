"""ggml's block types: 32 or 256 numbers with their scales in a few bytes (ggml-common.h, ggml-quants.c)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.checkpoint.formats.gguf import GGML_TYPES
from models.checkpoint.formats.plan import GgmlBlocks, Shape
from models.dequantization.blocks import Rows

FLOAT_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
GGML_BLOCKS = {name: (numbers, size) for name, numbers, size in GGML_TYPES.values()}


def ggml_rows(scheme: GgmlBlocks, shape: Shape, parts: Mapping[str, Tensor]) -> Rows:
    """Rows of a tensor whose bytes are those of a GGUF file."""
    data = parts["weight"].view(shape[0], -1)
    order = _order(scheme.interleaved_heads, len(data))

    def rows(start: int, stop: int) -> Tensor:
        chosen = data[start:stop] if order is None else data[order[start:stop]]
        if scheme.ggml_type in FLOAT_TYPES:
            return chosen.contiguous().view(FLOAT_TYPES[scheme.ggml_type]).float()
        _, size = GGML_BLOCKS[scheme.ggml_type]
        return DECODE[scheme.ggml_type](chosen.reshape(-1, size)).view(len(chosen), -1)

    return rows


def _order(heads: int, count: int) -> Tensor | None:
    """The stored row of each row. llama.cpp stores rows 0, half, 1, half + 1, ... of each head."""
    if not heads:
        return None
    return torch.arange(count).view(heads, -1, 2).transpose(1, 2).flatten()


def _halves(blocks: Tensor, place: int) -> Tensor:
    return blocks[:, place : place + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: Tensor) -> Tensor:
    """[n, b] -> [n, 2 b]: the lower four bits of all bytes, then the higher."""
    return torch.cat((packed & 15, packed >> 4), 1)


def _planes(packed: Tensor, width: int, shifts: range) -> Tensor:
    """[n, b] -> [n, b / width, shifts, width]: `width` bytes at a time, shifted by each of `shifts`."""
    return packed.view(len(packed), -1, 1, width) >> torch.tensor(list(shifts), dtype=torch.uint8)[:, None]


def _q4_0(blocks: Tensor) -> Tensor:
    return _halves(blocks, 0) * (_nibbles(blocks[:, 2:]).float() - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return _halves(blocks, 0) * _nibbles(blocks[:, 4:]).float() + _halves(blocks, 2)


def _five_bits(high: Tensor, low: Tensor) -> Tensor:
    return _nibbles(low) | ((_planes(high.contiguous(), 1, range(8)) & 1).flatten(1) << 4)


def _q5_0(blocks: Tensor) -> Tensor:
    return _halves(blocks, 0) * (_five_bits(blocks[:, 2:6], blocks[:, 6:]).float() - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    return _halves(blocks, 0) * _five_bits(blocks[:, 4:8], blocks[:, 8:]).float() + _halves(blocks, 2)


def _q8_0(blocks: Tensor) -> Tensor:
    return _halves(blocks, 0) * blocks[:, 2:].contiguous().view(torch.int8).float()


def _q2_k(blocks: Tensor) -> Tensor:
    scales = blocks[:, :16]
    numbers = (_planes(blocks[:, 16:80].contiguous(), 32, range(0, 8, 2)) & 3).reshape(-1, 16, 16).float()
    scale = _halves(blocks, 80) * (scales & 15).float()
    least = _halves(blocks, 82) * (scales >> 4).float()
    return (scale[..., None] * numbers - least[..., None]).flatten(1)


def _q3_k(blocks: Tensor) -> Tensor:
    low = (_planes(blocks[:, 32:96].contiguous(), 32, range(0, 8, 2)) & 3).reshape(-1, 16, 16)
    # A number whose third bit is not set is four lower.
    high = (_planes(blocks[:, :32].contiguous(), 32, range(8)) & 1).reshape(-1, 16, 16)
    packed = blocks[:, 96:108]
    scales = _nibbles(packed[:, :8]) | ((_planes(packed[:, 8:].contiguous(), 4, range(0, 8, 2)) & 3).flatten(1) << 4)
    scale = _halves(blocks, 108) * (scales.float() - 32)
    return (scale[..., None] * (low.float() - (1 - high.float()) * 4)).flatten(1)


def _six_bits(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and least numbers of eight groups, from the twelve bytes of Q4_K and Q5_K."""
    scale, least, both = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = torch.cat((scale & 63, (both & 15) | ((scale >> 2) & 48)), 1)
    return scales.float(), torch.cat((least & 63, (both >> 4) | ((least >> 2) & 48)), 1).float()


def _with_least(blocks: Tensor, numbers: Tensor) -> Tensor:
    scales, least = _six_bits(blocks[:, 4:16])
    scale = (_halves(blocks, 0) * scales)[..., None]
    return (scale * numbers.float() - (_halves(blocks, 2) * least)[..., None]).flatten(1)


def _q4_k(blocks: Tensor) -> Tensor:
    return _with_least(blocks, (_planes(blocks[:, 16:].contiguous(), 32, range(0, 8, 4)) & 15).reshape(-1, 8, 32))


def _q5_k(blocks: Tensor) -> Tensor:
    low = (_planes(blocks[:, 48:].contiguous(), 32, range(0, 8, 4)) & 15).reshape(-1, 8, 32)
    high = (_planes(blocks[:, 16:48].contiguous(), 32, range(8)) & 1).reshape(-1, 8, 32)
    return _with_least(blocks, low | (high << 4))


def _q6_k(blocks: Tensor) -> Tensor:
    low = (_planes(blocks[:, :128].contiguous(), 64, range(0, 8, 4)) & 15).reshape(-1, 8, 32)
    high = (_planes(blocks[:, 128:192].contiguous(), 32, range(0, 8, 2)) & 3).reshape(-1, 8, 32)
    numbers = ((low | (high << 4)).float() - 32).reshape(-1, 16, 16)
    scale = _halves(blocks, 208) * blocks[:, 192:208].contiguous().view(torch.int8).float()
    return (scale[..., None] * numbers).flatten(1)


DECODE: dict[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
