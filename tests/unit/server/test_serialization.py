"""Rows -> bytes."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.serialization import ONE_CALL_FLOATS, dump, items, little_endian

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_float_text_reads_back_to_the_same_bits(values: list[float]) -> None:
    row = np.array(values, dtype=np.float32)

    [read] = json.loads(dump(items(row[None], "float")))

    assert np.array(read, dtype=np.float32).tobytes() == row.tobytes()


def test_and_is_as_short_as_it_can_be() -> None:
    assert dump(items(np.array([[0.1, -1.5]], dtype=np.float32), "float")) == b"[[0.1,-1.5]]"


@pytest.mark.parametrize(
    ("row", "text"), [([0.5, 0.5, 0.5, 0.5], "AAAAPwAAAD8AAAA/AAAAPw=="), ([-1.0, 2.0], "AACAvwAAAEA=")]
)
def test_base64_is_of_little_endian_float32(row: list[float], text: str) -> None:
    assert items(np.array([row], dtype=np.float32), "base64") == [text]


def test_base64_of_a_slice_holds_the_slice() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)[:, 1:3]

    [_, second, _] = items(rows, "base64")

    assert np.frombuffer(base64.b64decode(second), dtype="<f4").tolist() == [5, 6]


def test_bytes_are_row_major() -> None:
    rows = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))

    assert np.frombuffer(little_endian(rows).tobytes(), dtype="<f4").tolist() == [0, 1, 2, 3, 4, 5]


def test_large_answers_are_written_row_by_row_to_the_same_bytes() -> None:
    rows = np.random.default_rng(0).normal(size=(ONE_CALL_FLOATS // 512 + 1, 512)).astype(np.float32)

    assert dump(items(rows, "float")) == dump(list(rows))
