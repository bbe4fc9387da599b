"""Names of spaces: which differences of two spaces leave their vectors comparable."""

from dataclasses import replace
from typing import Any

import pytest

from models.outputs.space import UNKNOWN, VectorSpace, compare_spaces, read_space

SPACE = VectorSpace("0123456789abcdef", "float32", 512, "float32", 384, "unit")


def test_a_name_reads_back() -> None:
    assert str(SPACE) == "hearth1.0123456789abcdef.float32.512.float32.384.unit"
    assert read_space(str(SPACE)) == SPACE


@pytest.mark.parametrize(
    "text", ["", "x", "hearth2.a.b.1.c.2.unit", "hearth1.a.b.1.c.2.long", "hearth1.a.b.x.c.2.unit", "hearth1......"]
)
def test_what_is_no_name_is_none(text: str) -> None:
    assert read_space(text) is None


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "same"),
        ({"dtype": UNKNOWN}, "same"),
        ({"dtype": "bfloat16"}, "compatible"),
        ({"max_tokens": 256}, "compatible"),
        ({"form": "float16"}, "compatible"),
        ({"model": "f" * 16}, "other"),
        ({"form": "int8"}, "other"),
        ({"dimensions": 128}, "other"),
        ({"scale": "raw"}, "other"),
        ({"dtype": "bfloat16", "dimensions": 128}, "other"),
    ],
)
def test_rounding_and_the_longest_text_leave_vectors_comparable(change: dict[str, Any], verdict: str) -> None:
    other = replace(SPACE, **change)

    assert compare_spaces(SPACE, other)[0] == compare_spaces(other, SPACE)[0] == verdict


def test_bits_of_another_calibration_are_others() -> None:
    one, other = (replace(SPACE, form=f"binary-{digest}") for digest in ("00000000", "11111111"))

    assert compare_spaces(one, other) == ("other", {"form": ("binary-00000000", "binary-11111111")})
