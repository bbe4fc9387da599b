"""Rows -> bytes. Nothing else serialises vectors."""

import base64
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

EncodingFormat = Literal["float", "base64", "bytes"]

# About 0.1 s of writing, in which nothing else of the process runs.
ONE_CALL_FLOATS = 4 * 1024 * 1024


def dump(value: Any) -> bytes:
    """JSON in UTF-8; numpy arrays as lists, each float32 in the fewest digits that read back to it."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def items(rows: NDArray[np.float32], how: EncodingFormat) -> list[Any]:
    """Each row as `embedding` holds it: an array of floats, or base64 of little-endian float32."""
    if how == "base64":
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in little_endian(rows)]
    if rows.size > ONE_CALL_FLOATS:
        # Row by row, which takes twice as long, but lets others in between.
        return [orjson.Fragment(dump(row)) for row in rows]
    return list(rows)


def little_endian(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows in the byte order of the wire, row-major; no copy where the machine has that order."""
    return np.ascontiguousarray(rows, dtype="<f4")
