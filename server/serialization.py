"""Writes JSON and vectors as bytes. No other module serializes vectors."""

import base64
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

JsonObject = dict[str, Any]
EncodingFormat = Literal["float", "base64", "bytes"]

# About 0.1 s of writing, during which nothing else in the process runs.
ONE_CALL_FLOATS = 4 * 1024 * 1024


def dump(value: Any) -> bytes:
    """JSON in UTF-8. Numpy arrays become lists, each float32 in the fewest digits that read back to the same value."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def items(rows: NDArray[Any], encoding: EncodingFormat) -> list[Any]:
    """One value of `embedding` for each row: an array of numbers, or base64 of the same numbers, little-endian."""
    if encoding == "base64":
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in little_endian(rows)]
    if rows.size > ONE_CALL_FLOATS:
        # Row by row takes twice as long, but other threads run in between.
        return [orjson.Fragment(dump(row)) for row in rows]
    return list(rows)


def little_endian(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows in little-endian numbers, row-major; not copied where the machine has that order."""
    return np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<"))
