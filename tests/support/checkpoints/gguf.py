"""Writes GGUF files as llama.cpp's converter does: ggml's gguf.md, version 3."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 32
TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "BF16": 30, "IQ2_XS": 17}
Floats = NDArray[np.float32]


def write_gguf(
    file: Path, metadata: Mapping[str, Any], tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]
) -> None:
    """Write a file of tensors, each with its type, its shape in the order of torch, and its bytes."""
    entries = b"".join(_text(key) + _value(value) for key, value in metadata.items())
    infos, data = b"", b""
    for name, (kind, shape, content) in tensors.items():
        axes = b"".join(struct.pack("<Q", length) for length in reversed(shape))
        infos += _text(name) + struct.pack("<I", len(shape)) + axes + struct.pack("<IQ", TYPES[kind], len(data))
        data += content + bytes(-len(content) % ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + entries + infos
    file.write_bytes(head + bytes(-len(head) % ALIGNMENT) + data)


def q8_0(matrix: Floats) -> tuple[bytes, Floats]:
    """Blocks of 32 bytes with a scale in float16; and the numbers that they mean."""
    blocks = matrix.reshape(-1, 32)
    scales = (np.abs(blocks).max(1) / 127).astype(np.float16)
    codes = np.round(blocks / scales.astype(np.float32)[:, None]).clip(-127, 127).astype(np.int8)
    content = b"".join(scale.tobytes() + row.tobytes() for scale, row in zip(scales, codes, strict=True))
    return content, (codes.astype(np.float32) * scales.astype(np.float32)[:, None]).reshape(matrix.shape)


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _value(value: Any) -> bytes:
    number, content = _typed(value)
    return struct.pack("<I", number) + content


def _typed(value: Any) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, _text(value)
    parts = [_typed(item) for item in value]
    kind = parts[0][0] if parts else 4
    return 9, struct.pack("<IQ", kind, len(parts)) + b"".join(content for _, content in parts)
