"""Weights as the makers of quantised checkpoints store them, and what they mean, computed plainly in numpy.

Written from the formats' own descriptions, and shares no code with the readers.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]
# What stands beside a module's name, and the plain weight that it stands for.
Quantize = Callable[[Floats], tuple[dict[str, Tensor], Floats]]


@dataclass(frozen=True, slots=True)
class Format:
    """One way to store a matrix [outputs, inputs], and what config.json says of it."""

    name: str
    config: Mapping[str, Any]
    quantize: Quantize
    described: str  # in /v1/models
    multiple: tuple[int, int] = field(default=(1, 1))  # of its outputs and of its inputs


def bytes_of_fp8(values: Floats) -> NDArray[np.uint8]:
    """The nearest E4M3 numbers, as their bytes."""
    return torch.from_numpy(values).to(torch.float8_e4m3fn).view(torch.uint8).numpy()


def fp8_values(stored: NDArray[np.uint8]) -> Floats:
    """E4M3 by its definition: a sign, four bits of exponent with a bias of 7, three bits of mantissa."""
    sign = np.where(stored & 0x80, -1.0, 1.0)
    exponent, mantissa = ((stored >> 3) & 15).astype(int), (stored & 7) / 8
    size = np.where(exponent == 0, mantissa * 2.0**-6, (1 + mantissa) * 2.0 ** (exponent - 7))
    return (sign * size).astype(np.float32)


def spread(grid: Floats, shape: tuple[int, ...], rows: int, columns: int) -> Floats:
    """The entry of the grid for each number of a matrix, one by one."""
    found = np.empty(shape, np.float32)
    for row in range(shape[0]):
        for column in range(0, shape[1], columns):
            found[row, column : column + columns] = grid[row // rows, column // columns]
    return found


def fp8_blocks(
    rows: int, columns: int, suffix: str = "weight_scale_inv", scale: torch.dtype = torch.float32
) -> Quantize:
    """DeepSeek's layout: blocks at the end of the matrix may be smaller."""

    def quantize(matrix: Floats) -> tuple[dict[str, Tensor], Floats]:
        high, wide = rows or matrix.shape[0], columns or matrix.shape[1]
        grid = np.empty((-(-matrix.shape[0] // high), -(-matrix.shape[1] // wide)), np.float32)
        for row, column in np.ndindex(grid.shape):
            block = matrix[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
            grid[row, column] = max(1e-12, np.abs(block).max() / 448)
        stored_scales = torch.from_numpy(grid).to(scale)
        scales = spread(stored_scales.float().numpy(), matrix.shape, high, wide)
        numbers = bytes_of_fp8(matrix / scales)
        weight = torch.from_numpy(numbers).view(torch.float8_e4m3fn)
        return {"weight": weight, suffix: stored_scales}, fp8_values(numbers) * scales

    return quantize


def _levels(matrix: Floats, groups: int, bits: int, *, signed: bool) -> tuple[Whole, Floats, Whole]:
    """Codes [n, c], scales [n, g] and zero points [n, g] by the least and the largest number of each group."""
    columns, top = matrix.shape[1], 2**bits - 1
    edges = range(0, columns, groups)
    scales = np.empty((matrix.shape[0], len(edges)), np.float32)
    zeros = np.empty_like(scales, np.int64)
    codes = np.empty(matrix.shape, np.int64)
    for number, start in enumerate(edges):
        part = matrix[:, start : start + groups]
        least, most = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        if signed:
            scale, zero = np.maximum(-least, most) / (2 ** (bits - 1) - 1), np.full(len(part), 2 ** (bits - 1))
        else:
            scale = (most - least) / top
            # 1 at least: the first format of GPTQ stores the zero point less one.
            zero = np.clip(np.round(-least / scale), 1, top)
        scale = scale.astype(np.float16).astype(np.float32)
        codes[:, start : start + groups] = np.clip(np.round(part / scale[:, None]) + zero[:, None], 0, top)
        scales[:, number], zeros[:, number] = scale, zero
    return codes, scales, zeros


def pack(codes: Whole, bits: int) -> Tensor:
    """Whole numbers along the last axis into int32 words, the first in the lowest bits; the last word is filled up."""
    per_word = 32 // bits
    words = np.zeros((codes.shape[0], -(-codes.shape[1] // per_word)), np.uint64)
    for column in range(codes.shape[1]):
        words[:, column // per_word] |= codes[:, column].astype(np.uint64) << np.uint64(column % per_word * bits)
    return torch.from_numpy(words.astype(np.uint32).view(np.int32).copy())


def int8_rows(matrix: Floats, *, asymmetric: bool = False) -> tuple[dict[str, Tensor], Floats]:
    """compressed-tensors' int8, a scale for each row."""
    codes, scales, zeros = _levels(matrix, matrix.shape[1], 8, signed=not asymmetric)
    stored = {"weight": torch.from_numpy(codes - 128).to(torch.int8), "weight_scale": torch.from_numpy(scales)}
    if asymmetric:
        stored["weight_zero_point"] = torch.from_numpy(zeros - 128).to(torch.int8)
    return stored, (codes - zeros).astype(np.float32) * scales


def packed_columns(bits: int, groups: int, *, asymmetric: bool = False, ordered: bool = False) -> Quantize:
    """compressed-tensors' pack-quantized; `ordered`: with the group of each column."""

    def quantize(matrix: Floats) -> tuple[dict[str, Tensor], Floats]:
        order = np.random.default_rng(0).permutation(matrix.shape[1]) if ordered else np.arange(matrix.shape[1])
        codes, scales, zeros = _levels(matrix[:, order], groups, bits, signed=not asymmetric)
        group_of_column = np.empty(matrix.shape[1], np.int64)
        group_of_column[order] = np.arange(matrix.shape[1]) // groups
        back = np.argsort(order)
        codes = codes[:, back]
        stored = {
            "weight_packed": pack(codes, bits),
            "weight_scale": torch.from_numpy(scales).to(torch.bfloat16),
            "weight_shape": torch.tensor(matrix.shape),
        }
        if asymmetric:
            stored["weight_zero_point"] = pack(zeros.T.copy(), bits).T.contiguous()
        if ordered:
            stored["weight_g_idx"] = torch.from_numpy(group_of_column).int()
        rounded = torch.from_numpy(scales).to(torch.bfloat16).float().numpy()
        return stored, (codes - zeros[:, group_of_column]).astype(np.float32) * rounded[:, group_of_column]

    return quantize


def awq(groups: int) -> Quantize:
    """AutoAWQ's gemm layout: eight outputs in a word, in the order 0 2 4 6 1 3 5 7."""

    def interleaved(codes: Whole) -> Tensor:
        eights = codes.reshape(codes.shape[0], -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]]
        return pack(eights.reshape(codes.shape[0], -1), 4)

    def quantize(matrix: Floats) -> tuple[dict[str, Tensor], Floats]:
        size = groups if groups > 0 else matrix.shape[1]
        codes, scales, zeros = _levels(matrix, size, 4, signed=False)
        stored = {
            "qweight": interleaved(codes.T.copy()),
            "qzeros": interleaved(zeros.T.copy()),
            "scales": torch.from_numpy(scales.T.copy()).half(),
        }
        group = np.arange(matrix.shape[1]) // size
        return stored, (codes - zeros[:, group]).astype(np.float32) * scales[:, group]

    return quantize


def gptq(bits: int, groups: int, *, first: bool = True, sym: bool = False, by_activations: bool = False) -> Quantize:
    """GPTQ; `first`: its first format, which stores zero points less one, with a borrow inside a word."""

    def quantize(matrix: Floats) -> tuple[dict[str, Tensor], Floats]:
        inputs = matrix.shape[1]
        size = groups if groups > 0 else inputs
        order = np.random.default_rng(0).permutation(inputs) if by_activations else np.arange(inputs)
        codes, scales, zeros = _levels(matrix[:, order], size, bits, signed=sym)
        group = np.empty(inputs, np.int64)
        group[order] = np.arange(inputs) // size
        codes = codes[:, np.argsort(order)]
        if not sym:
            zeros[::7] = 0
            words = pack(zeros.T.copy(), bits)
        else:
            words = pack(zeros.T.copy(), bits)
        if first:
            one_each = sum(1 << shift for shift in range(0, 32, bits))
            words = torch.from_numpy((words.numpy().view(np.uint32) - np.uint32(one_each)).view(np.int32).copy())
        stored = {
            "qweight": pack(codes, bits).T.contiguous(),
            "qzeros": words,
            "scales": torch.from_numpy(scales.T.copy()).half(),
            "g_idx": torch.from_numpy(group).int(),
        }
        return stored, (codes - zeros[:, group]).astype(np.float32) * scales[:, group]

    return quantize


def bnb_int8(matrix: Floats) -> tuple[dict[str, Tensor], Floats]:
    """bitsandbytes' int8: the largest number of each row stands for 127."""
    largest = np.abs(matrix).max(1)
    codes = np.round(matrix * (127 / largest)[:, None]).astype(np.int8)
    meant = codes.astype(np.float32) * largest[:, None] * np.float32(1 / 127)
    layout = torch.tensor(0, dtype=torch.uint8)
    return {"weight": torch.from_numpy(codes), "SCB": torch.from_numpy(largest), "weight_format": layout}, meant


def bnb_4bit(table_name: str, *, nested: bool, block: int = 64, nested_block: int = 256) -> Quantize:
    """bitsandbytes' nf4 and fp4. Any table does: it is stored beside each weight."""

    def quantize(matrix: Floats) -> tuple[dict[str, Tensor], Floats]:
        rng = np.random.default_rng(1)
        table = np.sort(rng.uniform(-1, 1, 16)).astype(np.float32)
        flat = matrix.flatten()
        count = len(flat)
        largest = np.array([np.abs(flat[at : at + block]).max() for at in range(0, count, block)], np.float32)
        parts: dict[str, Tensor] = {"weight.quant_map": torch.from_numpy(table)}
        state: dict[str, Any] = {"quant_type": table_name, "blocksize": block, "dtype": "float32"}
        state["shape"] = list(matrix.shape)
        if nested:
            levels = np.sort(rng.uniform(-1, 1, 256)).astype(np.float32)
            offset = np.float32(largest.mean())
            inner = largest - offset
            tops = np.array(
                [max(1e-6, np.abs(inner[at : at + nested_block]).max()) for at in range(0, len(inner), nested_block)]
            )
            tops = tops.astype(np.float32)
            top = tops[np.arange(len(inner)) // nested_block]
            codes = np.abs((inner / top)[:, None] - levels).argmin(1).astype(np.uint8)
            largest = levels[codes] * top + offset
            parts["weight.absmax"] = torch.from_numpy(codes)
            parts["weight.nested_absmax"] = torch.from_numpy(tops)
            parts["weight.nested_quant_map"] = torch.from_numpy(levels)
            state |= {"nested_blocksize": nested_block, "nested_offset": float(offset), "nested_dtype": "float32"}
        else:
            parts["weight.absmax"] = torch.from_numpy(largest)
        scale = largest[np.arange(count) // block]
        indexes = np.abs((flat / scale)[:, None] - table).argmin(1).astype(np.uint8)
        pairs = np.append(indexes, np.zeros(count % 2, np.uint8)).reshape(-1, 2)
        parts["weight"] = torch.from_numpy((pairs[:, 0] << 4 | pairs[:, 1])[:, None].copy())
        described = np.frombuffer(json.dumps(state).encode(), np.uint8).copy()
        parts[f"weight.quant_state.bitsandbytes__{table_name}"] = torch.from_numpy(described)
        return parts, (table[indexes] * scale).reshape(matrix.shape)

    return quantize


def compressed(layout: str, **weights: Any) -> dict[str, Any]:
    """quantization_config of compressed-tensors, with activations that would be quantised if they were."""
    group = {"targets": ["Linear"], "weights": weights, "input_activations": {"num_bits": 8, "dynamic": True}}
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


_FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic"}
_GPTQ = {"quant_method": "gptq", "damp_percent": 0.01, "true_sequential": True}
_BNB4 = {"quant_method": "bitsandbytes", "load_in_4bit": True}
_INT, _FLOAT = {"type": "int"}, {"type": "float", "num_bits": 8, "symmetric": True}

FORMATS = (
    Format("fp8", _FP8 | {"weight_block_size": [128, 128]}, fp8_blocks(128, 128), "fp8, blocks of 128 x 128"),
    Format(
        "fp8-bfloat16-scales",
        _FP8 | {"weight_block_size": [128, 64]},
        fp8_blocks(128, 64, scale=torch.bfloat16),
        "fp8, blocks of 128 x 64",
    ),
    Format("fp8-tensor", dict(_FP8), fp8_blocks(0, 0, "weight_scale"), "fp8, one scale for each matrix"),
    Format(
        "compressed-fp8-channel",
        compressed("float-quantized", strategy="channel", **_FLOAT),
        fp8_blocks(1, 0, "weight_scale"),
        "compressed-tensors, float-quantized, float8 by channel",
    ),
    Format(
        "compressed-fp8-tensor",
        compressed("float-quantized", strategy="tensor", **_FLOAT),
        fp8_blocks(0, 0, "weight_scale"),
        "compressed-tensors, float-quantized, float8 by tensor",
    ),
    Format(
        "compressed-fp8-block",
        compressed("float-quantized", strategy="block", block_structure=[128, 128], **_FLOAT),
        fp8_blocks(128, 128, "weight_scale"),
        "compressed-tensors, float-quantized, float8 by block",
    ),
    Format(
        "compressed-int8",
        compressed("int-quantized", strategy="channel", num_bits=8, symmetric=True, **_INT),
        int8_rows,
        "compressed-tensors, int-quantized, int8 by channel",
    ),
    Format(
        "compressed-int8-asymmetric",
        compressed("int-quantized", strategy="channel", num_bits=8, symmetric=False, **_INT),
        lambda matrix: int8_rows(matrix, asymmetric=True),
        "compressed-tensors, int-quantized, int8 by channel",
    ),
    Format(
        "compressed-int4-groups",
        compressed("pack-quantized", strategy="group", group_size=32, num_bits=4, symmetric=True, **_INT),
        packed_columns(4, 32),
        "compressed-tensors, pack-quantized, int4 by group",
    ),
    Format(
        "compressed-int4-asymmetric-ordered",
        compressed(
            "pack-quantized", strategy="group", group_size=32, num_bits=4, symmetric=False, actorder="group", **_INT
        ),
        packed_columns(4, 32, asymmetric=True, ordered=True),
        "compressed-tensors, pack-quantized, int4 by group",
    ),
    Format(
        "compressed-int4-channel",
        compressed("pack-quantized", strategy="channel", num_bits=4, symmetric=True, **_INT),
        packed_columns(4, 10**6),
        "compressed-tensors, pack-quantized, int4 by channel",
    ),
    Format("bitsandbytes-int8", {"quant_method": "bitsandbytes", "load_in_8bit": True}, bnb_int8, "bitsandbytes, int8"),
    Format(
        "bitsandbytes-nf4",
        _BNB4 | {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False},
        bnb_4bit("nf4", nested=False),
        "bitsandbytes, nf4",
    ),
    Format(
        "bitsandbytes-nf4-nested",
        _BNB4 | {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
        bnb_4bit("nf4", nested=True),
        "bitsandbytes, nf4 with quantised scales",
    ),
    Format(
        "bitsandbytes-fp4", _BNB4 | {"bnb_4bit_quant_type": "fp4"}, bnb_4bit("fp4", nested=False), "bitsandbytes, fp4"
    ),
    Format(
        "awq",
        {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"},
        awq(32),
        "awq, 4 bits, groups of 32",
        (8, 1),
    ),
    Format(
        "gptq",
        _GPTQ | {"bits": 4, "group_size": 32, "desc_act": False, "sym": False},
        gptq(4, 32),
        "gptq, 4 bits, groups of 32",
        (8, 8),
    ),
    Format(
        "gptq-sym-8-whole",
        _GPTQ | {"bits": 8, "group_size": -1, "desc_act": False, "sym": True},
        gptq(8, -1, sym=True),
        "gptq, 8 bits",
        (4, 4),
    ),
    Format(
        "gptq-by-activations",
        _GPTQ | {"bits": 4, "group_size": 64, "desc_act": True, "sym": False},
        gptq(4, 64, by_activations=True),
        "gptq, 4 bits, groups of 64, by order of activations",
        (8, 8),
    ),
    Format(
        "gptq-v2-2-bits",
        _GPTQ | {"bits": 2, "group_size": 32, "desc_act": False, "checkpoint_format": "gptq_v2"},
        gptq(2, 32, first=False),
        "gptq, 2 bits, groups of 32",
        (16, 16),
    ),
)


def quantize_folder(plain: Path, format_: Format, *, matrices: Callable[[str], bool]) -> None:
    """Store the chosen matrices of a folder quantised, in place; `plain` beside it keeps what they mean.

    The folder `<plain>-quantized` is made; the numbers in `plain` become those that the quantised ones mean.
    """
    import shutil

    stored_folder = plain.with_name(f"{plain.name}-quantized")
    shutil.copytree(plain, stored_folder)
    stored: dict[str, Tensor] = {}
    meant: dict[str, Tensor] = {}
    for name, tensor in load_file(plain / "model.safetensors").items():
        if not matrices(name):
            stored[name] = meant[name] = tensor
            continue
        parts, numbers = format_.quantize(tensor.float().numpy())
        stored |= {name.removesuffix("weight") + leaf: part for leaf, part in parts.items()}
        meant[name] = torch.from_numpy(numbers.copy())
    save_file(stored, stored_folder / "model.safetensors", metadata={"format": "pt"})
    save_file(meant, plain / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((plain / "config.json").read_text("utf-8"))
    (stored_folder / "config.json").write_text(json.dumps(config | {"quantization_config": format_.config}), "utf-8")
