"""Vectors in fewer bits: float16, int8, uint8, and one bit for each number. numpy alone, no state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from models.postprocess import Matrix

OutputDtype = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
Quantized = NDArray[Any]

# How the numbers of each form are written: `binary` and `ubinary` hold eight bits in each, the first one highest.
NUMBERS: Mapping[OutputDtype, str] = {
    "float32": "<f4",
    "float16": "<f2",
    "int8": "i1",
    "uint8": "u1",
    "binary": "i1",
    "ubinary": "u1",
}
BITS_IN_A_BYTE = 8


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a sample of a model's vectors says: the mean of each number [d], and the largest size of any number.

    One limit for all dimensions: with a range for each, as sentence-transformers takes them, products weigh each
    dimension anew, and int8 loses up to 3.7% of nDCG@10 instead of 0.2% (benchmarks/results/output-dtypes.md).
    """

    mean: NDArray[np.float32]
    limit: float


def statistics_of(vectors: Matrix) -> Statistics:
    """The statistics of vectors [n, d], n >= 1, that were cut and scaled as those to be quantised."""
    return Statistics(vectors.mean(axis=0, dtype=np.float64).astype(np.float32), float(np.abs(vectors).max()))


def unit_statistics(width: int) -> Statistics:
    """What is known of vectors of length 1 before any is seen, enough for int8 and uint8: no number is above 1."""
    return Statistics(np.zeros(width, np.float32), 1.0)


def needs_calibration(dtype: OutputDtype, *, are_unit: bool) -> bool:
    """Whether a form of vectors loses more than 1% of nDCG@10 without a sample of the model's vectors.

    Measured for vectors of length 1, at most: float16 0.0%, int8 and uint8 0.2%, bits 68%
    (benchmarks/results/output-dtypes.md). Of vectors of any length nothing is known.
    """
    return dtype in ("binary", "ubinary") or (dtype in ("int8", "uint8") and not are_unit)


def quantize(vectors: Matrix, dtype: OutputDtype, statistics: Statistics | None = None) -> Quantized:
    """Vectors [n, d] in another form: [n, d], or packed into bits [n, ceil(d / 8)].

    int8 is the nearest of 255 levels from -limit to limit, and uint8 is 128 more; a number outside becomes the nearest
    end. sentence-transformers (util/quantization.py, quantize_embeddings, 6.2) gives the same for ranges from -128.5 to
    126.5 steps. A bit is 1 where a number lies above the sample's mean, for which sentence-transformers takes 0.
    `binary` is `ubinary` less 128, as in Cohere's and Voyage's APIs.

    Raises: OverflowError: float16 holds no number above 65,504.
    """
    if dtype == "float32":
        return vectors
    if dtype == "float16":
        return _halves(vectors)
    assert statistics is not None, f"{dtype} without the statistics of the model's vectors"
    if dtype in ("binary", "ubinary"):
        bits = np.packbits(vectors > statistics.mean, axis=1)
        return bits if dtype == "ubinary" else _signed(bits)
    levels = _levels(vectors, statistics.limit)
    return levels if dtype == "uint8" else _signed(levels)


def dequantize(rows: Quantized, dtype: OutputDtype, width: int) -> Matrix:
    """The numbers that a search engine compares: +1 or -1 for each bit, uint8 less 128, and else the form's own."""
    if dtype in ("binary", "ubinary"):
        packed = rows if dtype == "ubinary" else rows.view(np.uint8) ^ np.uint8(128)
        return np.unpackbits(packed, axis=1, count=width).astype(np.float32) * 2 - 1
    return rows.astype(np.float32) - np.float32(128 if dtype == "uint8" else 0)


def bytes_of(width: int, dtype: OutputDtype) -> int:
    """The bytes of a vector of `width` numbers."""
    numbers = -(-width // BITS_IN_A_BYTE) if dtype in ("binary", "ubinary") else width
    return numbers * np.dtype(NUMBERS[dtype]).itemsize


def _halves(vectors: Matrix) -> Quantized:
    with np.errstate(over="ignore"):
        halves = vectors.astype(np.float16)
    if np.isinf(halves).any():
        raise OverflowError(f"{float(np.abs(vectors).max()):g}")
    return halves


def _levels(vectors: Matrix, limit: float) -> NDArray[np.uint8]:
    # Zero is the level 128, or 0 with a sign: products of levels rank as those of the numbers do.
    step = np.float32(limit / 127) or np.float32(1)
    return cast("NDArray[np.uint8]", np.clip(np.floor(vectors / step + np.float32(128.5)), 1, 255).astype(np.uint8))


def _signed(numbers: NDArray[np.uint8]) -> NDArray[np.int8]:
    # The same as less 128: the highest bit of a byte is 128 without a sign and -128 with one.
    return cast("NDArray[np.int8]", (numbers ^ np.uint8(128)).view(np.int8))
