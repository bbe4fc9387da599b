"""ggml's blocks, one by one and number by number as ggml-quants.c has them, against all rows at once."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.checkpoint.formats.plan import GgmlBlocks, QuantizedWeight
from models.dequantization.ggml import DECODE, GGML_BLOCKS
from models.dequantization.reader import dequantize_weight

Block = NDArray[np.uint8]
ROWS = 192
# Where a block has its scales in float16: any other bytes may have any value.
SCALES = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
}


def half(block: Block, place: int) -> np.float32:
    return np.float32(block[place : place + 2].view(np.float16)[0])


def four_bits(block: Block, index: int, start: int) -> int:
    return int(block[start + index % 16]) >> (4 if index >= 16 else 0) & 15


def fifth_bit(block: Block, index: int, start: int) -> int:
    return (int(block[start + index // 8]) >> index % 8 & 1) << 4


def scale_and_least(block: Block, group: int) -> tuple[int, int]:
    # get_scale_min_k4()
    packed = [int(byte) for byte in block[4:16]]
    if group < 4:
        return packed[group] & 63, packed[group + 4] & 63
    scale = packed[group + 4] & 15 | packed[group - 4] >> 6 << 4
    return scale, packed[group + 4] >> 4 | packed[group] >> 6 << 4


def q2_k(block: Block, index: int) -> np.float32:
    group = index // 16
    bits = int(block[16 + index // 128 * 32 + index % 32]) >> index % 128 // 32 * 2 & 3
    scale = half(block, 80) * np.float32(block[group] & 15)
    return scale * np.float32(bits) - half(block, 82) * np.float32(block[group] >> 4)


def q3_k(block: Block, index: int) -> np.float32:
    group, packed = index // 16, block[96:108]
    low = int(packed[group % 8]) >> (4 if group >= 8 else 0) & 15
    scale = low | (int(packed[8 + group % 4]) >> group // 4 * 2 & 3) << 4
    bits = int(block[32 + index // 128 * 32 + index % 32]) >> index % 128 // 32 * 2 & 3
    less = 0 if int(block[index % 32]) >> index // 32 & 1 else 4
    return half(block, 108) * np.float32(scale - 32) * np.float32(bits - less)


def q4_k(block: Block, index: int) -> np.float32:
    bits = int(block[16 + index // 64 * 32 + index % 32]) >> (4 if index % 64 >= 32 else 0) & 15
    return with_least(block, index, bits)


def q5_k(block: Block, index: int) -> np.float32:
    bits = int(block[48 + index // 64 * 32 + index % 32]) >> (4 if index % 64 >= 32 else 0) & 15
    return with_least(block, index, bits | (int(block[16 + index % 32]) >> index // 32 & 1) << 4)


def with_least(block: Block, index: int, bits: int) -> np.float32:
    scale, least = scale_and_least(block, index // 32)
    return half(block, 0) * np.float32(scale) * np.float32(bits) - half(block, 2) * np.float32(least)


def q6_k(block: Block, index: int) -> np.float32:
    part, place = index // 128, index % 128
    low = int(block[part * 64 + place % 64]) >> (4 if place >= 64 else 0) & 15
    high = int(block[128 + part * 32 + place % 32]) >> place // 32 * 2 & 3
    scale = np.float32(block[192 + index // 16 : 193 + index // 16].view(np.int8)[0])
    return half(block, 208) * scale * np.float32((low | high << 4) - 32)


NUMBER: dict[str, Callable[[Block, int], np.float32]] = {
    "Q4_0": lambda block, index: half(block, 0) * np.float32(four_bits(block, index, 2) - 8),
    "Q4_1": lambda block, index: half(block, 0) * np.float32(four_bits(block, index, 4)) + half(block, 2),
    "Q5_0": lambda block, index: (
        half(block, 0) * np.float32((four_bits(block, index, 6) | fifth_bit(block, index, 2)) - 16)
    ),
    "Q5_1": lambda block, index: (
        half(block, 0) * np.float32(four_bits(block, index, 8) | fifth_bit(block, index, 4)) + half(block, 2)
    ),
    "Q8_0": lambda block, index: half(block, 0) * np.float32(block[2 + index : 3 + index].view(np.int8)[0]),
    "Q2_K": q2_k,
    "Q3_K": q3_k,
    "Q4_K": q4_k,
    "Q5_K": q5_k,
    "Q6_K": q6_k,
}


def random_blocks(kind: str, count: int) -> Block:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (count, GGML_BLOCKS[kind][1]), dtype=np.uint8)
    for place in SCALES[kind]:
        blocks[:, place : place + 2] = rng.normal(size=count).astype(np.float16)[:, None].view(np.uint8)
    return blocks


@pytest.mark.parametrize("kind", DECODE)
def test_each_number_of_a_block_is_that_of_ggml(kind: str) -> None:
    numbers, _ = GGML_BLOCKS[kind]
    blocks = random_blocks(kind, 8)

    read = DECODE[kind](torch.from_numpy(blocks)).numpy()

    expected = np.array([[NUMBER[kind](block, index) for index in range(numbers)] for block in blocks])
    assert np.array_equal(read, expected)


@pytest.mark.skipif(find_spec("gguf") is None, reason="needs the package gguf")
@pytest.mark.parametrize("kind", DECODE)
def test_whole_matrices_are_those_of_the_package_gguf(kind: str) -> None:
    gguf = importlib.import_module("gguf")
    blocks = random_blocks(kind, ROWS * 2)
    weight = QuantizedWeight((ROWS, 2 * GGML_BLOCKS[kind][0]), {}, GgmlBlocks(kind))

    read = dequantize_weight(weight, {"weight": torch.from_numpy(blocks).flatten()}, torch.float32)

    expected = gguf.quants.dequantize(blocks.reshape(ROWS, -1), gguf.GGMLQuantizationType[kind])
    assert np.array_equal(read.numpy(), expected)


@pytest.mark.parametrize(("kind", "dtype"), [("F32", torch.float32), ("F16", torch.float16), ("BF16", torch.bfloat16)])
def test_floats_are_read_as_they_are(kind: str, dtype: torch.dtype) -> None:
    matrix = torch.randn(192, 5, generator=torch.Generator().manual_seed(0)).to(dtype)

    read = dequantize_weight(
        QuantizedWeight((192, 5), {}, GgmlBlocks(kind)), {"weight": matrix.view(torch.uint8).flatten()}, torch.float32
    )

    assert torch.equal(read, matrix.float())


def test_interleaved_heads_are_put_back() -> None:
    matrix = np.random.default_rng(0).normal(size=(192, 3)).astype(np.float32)
    # llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute()
    stored = matrix.reshape(4, 2, 24, 3).swapaxes(1, 2).reshape(192, 3)
    weight = QuantizedWeight((192, 3), {}, GgmlBlocks("F32", interleaved_heads=4))

    read = dequantize_weight(
        weight, {"weight": torch.from_numpy(stored.copy()).view(torch.uint8).flatten()}, torch.float32
    )

    assert np.array_equal(read.numpy(), matrix)
