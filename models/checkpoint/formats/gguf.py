"""GGUF files, llama.cpp's format: the metadata and where each tensor lies. No numbers are read."""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checkpoint.files import INDEX, WEIGHTS, open_file
from models.checkpoint.formats.plan import Shape
from models.interface import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SUFFIX = ".gguf"
# ggml's gguf.md: the types of metadata, as struct formats; a text and a list are read otherwise.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_ALIGNMENT = 32
_MAX_AXES = 4
# ggml.h and ggml-common.h: types of tensors by number, with the numbers and the bytes of a block.
GGML_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    30: ("BF16", 1, 2),
    28: ("F64", 1, 8),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
}
_UNSUPPORTED_TYPES = {
    9: "Q8_1",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: its ggml type, its shape in the order of torch, and its bytes from `start` to before `end`."""

    ggml_type: str
    shape: Shape
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """What the header of a GGUF file says."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]


def find_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder without safetensors; None if there is none.

    Raises: ModelError: there are several, or one is a part of a file.
    """
    try:
        names = sorted(file.name for file in folder.iterdir())
    except OSError:
        return None
    files = [name for name in names if name.endswith(SUFFIX)]
    if not files or WEIGHTS in names or INDEX in names:
        return None
    if len(files) > 1:
        raise ModelError(
            f"{folder} holds several GGUF files, and does not say which is meant: {', '.join(files[:3])}; put one into "
            "a folder of its own (parts of one model: merge them first with llama-gguf-split --merge)"
        )
    return folder / files[0]


def read_gguf(file: Path) -> GgufFile:
    """Read the header.

    Raises: ModelError: the file is damaged, or has tensors of a type that is not supported.
    """
    try:
        with open_file(file) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(file, _Cursor(data))
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error
    except (struct.error, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise ModelError(f"{file} is damaged or not a GGUF file: {error}") from error


def _parse(file: Path, cursor: "_Cursor") -> GgufFile:
    if cursor.take(len(MAGIC)) != MAGIC:
        raise ValueError("it does not begin with GGUF")
    if (version := cursor.number("I")) not in VERSIONS:
        raise ValueError(f"its version is {version}; known are {VERSIONS[0]} and {VERSIONS[1]}")
    tensors, entries = cursor.number("Q"), cursor.number("Q")
    metadata = {cursor.text(): cursor.value(cursor.number("I")) for _ in range(entries)}
    if metadata.get("split.count", 1) not in (0, 1):
        raise ModelError(f"{file} is one of several parts; merge them with llama-gguf-split --merge")
    infos = list(_tensor_infos(file, cursor, tensors))
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    data = -(-cursor.place // alignment) * alignment
    found = {}
    for name, (ggml_type, shape, offset, size) in infos:
        found[name] = GgufTensor(ggml_type, shape, data + offset, data + offset + size)
        if found[name].end > cursor.size:
            raise ValueError(f"the tensor {name} ends after the file")
    return GgufFile(file, metadata, found)


def _tensor_infos(file: Path, cursor: "_Cursor", count: int) -> Iterator[tuple[str, tuple[str, Shape, int, int]]]:
    for _ in range(count):
        name, axes = cursor.text(), cursor.number("I")
        if axes > _MAX_AXES:
            raise ValueError(f"the tensor {name} has {axes} axes")
        shape = tuple(cursor.number("Q") for _ in range(axes))[::-1]
        number, offset = cursor.number("I"), cursor.number("Q")
        if number not in GGML_TYPES:
            unsupported = _UNSUPPORTED_TYPES.get(number, f"number {number}")
            supported = ", ".join(sorted(ggml_type for ggml_type, *_ in GGML_TYPES.values()))
            raise ModelError(
                f"{file} holds tensors of the type {unsupported}, which is not supported (supported: {supported}); "
                f"use a file of another quantisation, such as Q4_K_M or Q8_0: {name}"
            )
        ggml_type, numbers, size = GGML_TYPES[number]
        columns = shape[-1] if shape else 1
        if columns % numbers:
            raise ValueError(f"the tensor {name} has rows of {columns} numbers, not of whole blocks of {numbers}")
        rows = 1
        for length in shape[:-1]:
            rows *= length
        yield name, (ggml_type, shape, offset, rows * columns // numbers * size)


class _Cursor:
    """A place in the bytes of a header."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self.place, self.size = data, 0, len(data)

    def take(self, count: int) -> bytes:
        if count > self.size - self.place:
            raise ValueError("it ends within its header")
        self.place += count
        return self._data[self.place - count : self.place]

    def number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind == _LIST:
            inner, count = self.number("I"), self.number("Q")
            if inner in _NUMBERS:
                code = f"<{count}{_NUMBERS[inner]}"
                return list(struct.unpack(code, self.take(struct.calcsize(code))))
            if count > self.size:
                raise ValueError("a list in its metadata is longer than the file")
            return [self.value(inner) for _ in range(count)]
        if kind not in _NUMBERS:
            raise ValueError(f"its metadata has a value of an unknown type: {kind}")
        return self.number(_NUMBERS[kind])
