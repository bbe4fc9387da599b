"""Forms of vectors with fewer bits, each equal to the reference on random twins."""

import numpy as np
import pytest
from sentence_transformers.util.quantization import quantize_embeddings

from models.outputs.output_dtype import (
    NUMBERS,
    OutputDtype,
    Statistics,
    bytes_of,
    dequantize,
    needs_calibration,
    quantize,
    statistics_of,
    unit_statistics,
)
from models.postprocess import finish_vectors

ROWS = np.random.default_rng(0).normal(0.02, 0.1, (40, 21)).astype(np.float32)
STATISTICS = statistics_of(ROWS[:20])
WITHOUT_MEAN = Statistics(np.zeros(21, np.float32), STATISTICS.limit)
RANGES = np.stack([np.full(21, -128.5), np.full(21, 126.5)]) * STATISTICS.limit / 127


@pytest.mark.parametrize("dtype", ["int8", "uint8", "binary", "ubinary"])
def test_each_form_is_that_of_sentence_transformers(dtype: OutputDtype) -> None:
    expected = quantize_embeddings(ROWS[:20], dtype, ranges=RANGES)  # type: ignore[arg-type]

    quantized = quantize(ROWS[:20], dtype, WITHOUT_MEAN)

    assert quantized.dtype == expected.dtype == np.dtype(NUMBERS[dtype])
    assert np.array_equal(quantized, expected)


def test_a_bit_says_which_side_of_the_mean_a_number_lies_on() -> None:
    packed = quantize(ROWS, "ubinary", STATISTICS)

    bits = np.unpackbits(packed, axis=1, count=21)
    assert np.array_equal(bits, ROWS[:20].mean(axis=0) < ROWS)
    assert np.array_equal(packed.astype(int) - 128, quantize(ROWS, "binary", STATISTICS))


def test_a_number_outside_of_the_sample_becomes_the_nearest_end() -> None:
    far = np.stack([np.full(21, 9, np.float32), np.full(21, -9, np.float32)])

    assert quantize(far, "int8", STATISTICS)[:, 0].tolist() == [127, -127]
    assert quantize(far, "uint8", STATISTICS)[:, 0].tolist() == [255, 1]


def test_vectors_of_nothing_but_zeros_divide_by_nothing() -> None:
    zeros = np.zeros((3, 8), np.float32)

    assert (quantize(zeros, "uint8", statistics_of(zeros)) == 128).all()


def test_float16_rounds_and_never_becomes_infinite() -> None:
    assert np.array_equal(quantize(ROWS, "float16"), ROWS.astype(np.float16))
    with pytest.raises(OverflowError, match="70000"):
        quantize(np.full((1, 2), 7e4, np.float32), "float16")


def test_float32_is_the_row_itself() -> None:
    assert quantize(ROWS, "float32") is ROWS


@pytest.mark.parametrize(
    ("are_unit", "served"), [(True, ["float32", "float16", "int8", "uint8"]), (False, ["float32", "float16"])]
)
def test_forms_that_lose_much_without_a_sample_need_one(are_unit: bool, served: list[str]) -> None:
    assert [dtype for dtype in NUMBERS if not needs_calibration(dtype, are_unit=are_unit)] == served


@pytest.mark.parametrize(
    ("dtype", "width", "size"),
    [
        ("float32", 21, 84),
        ("float16", 21, 42),
        ("int8", 21, 21),
        ("uint8", 21, 21),
        ("binary", 21, 3),
        ("ubinary", 8, 1),
    ],
)
def test_the_bytes_of_a_vector_are_those_of_its_form(dtype: OutputDtype, width: int, size: int) -> None:
    assert bytes_of(width, dtype) == size
    assert quantize(ROWS[:1, :width], dtype, statistics_of(ROWS[:20, :width])).nbytes == size


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_levels_are_the_numbers_themselves_on_another_scale(dtype: OutputDtype) -> None:
    step = STATISTICS.limit / 127

    numbers = dequantize(quantize(ROWS[:20], dtype, STATISTICS), dtype, 21) * step

    assert np.abs(numbers - ROWS[:20]).max() <= step * 0.501


@pytest.mark.parametrize("dtype", ["binary", "ubinary"])
def test_bits_are_compared_as_plus_and_minus_one(dtype: OutputDtype) -> None:
    signs = dequantize(quantize(ROWS, dtype, STATISTICS), dtype, 21)

    assert np.array_equal(signs, np.where(STATISTICS.mean < ROWS, 1, -1))


def test_vectors_of_length_1_lie_within_what_is_known_of_them() -> None:
    units = finish_vectors(ROWS, normalize=True)

    quantized = quantize(units, "int8", unit_statistics(21))

    assert np.abs(dequantize(quantized, "int8", 21) / 127 - units).max() <= 0.501 / 127
