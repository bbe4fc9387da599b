"""What a result may differ from the reference: by a fixed limit, or by what the reference itself loses in a dtype."""

import math

import numpy as np
import pytest

from models.verify.limits import PACKED_VECTORS, SCORES, VECTORS, Errors

LIBRARY = Errors(worst=0.028, average=0.010)


@pytest.mark.parametrize(
    ("ours", "library", "passes"),
    [
        (Errors(0.019, 0.019), None, True),
        (Errors(0.021, 0.010), None, False),
        (Errors(0.019, 0.019), Errors(0.001, 0.0001), True),
        (Errors(0.033, 0.012), LIBRARY, True),
        (Errors(0.083, 0.019), LIBRARY, True),
        (Errors(0.085, 0.019), LIBRARY, False),
        (Errors(0.033, 0.021), LIBRARY, False),
        (Errors(math.nan, math.nan), LIBRARY, False),
        (Errors(0.033, 0.012), Errors(math.nan, math.nan), False),
    ],
)
def test_beyond_the_limit_the_library_s_own_error_counts(ours: Errors, library: Errors | None, passes: bool) -> None:
    assert ours.are_within(SCORES.limit_half, library) is passes


def test_vectors_are_measured_by_their_cosines() -> None:
    rows = [np.array([1.0, 0.0], np.float32), np.array([0.6, 0.8], np.float32)]

    errors = VECTORS.errors(rows, [rows[0], rows[0]])

    assert (errors.worst, errors.average) == pytest.approx((0.4, 0.2))
    assert (VECTORS.value(errors.worst), VECTORS.text(errors.worst)) == (pytest.approx(0.6), "0.6000000")
    assert [measure.required(measure.limit) for measure in (VECTORS, PACKED_VECTORS)] == ["≥ 0.99999", "≥ 0.999999"]


def test_scores_are_measured_by_their_differences() -> None:
    errors = SCORES.errors([np.array([0.1, 0.9], np.float32)], [np.array([0.1, 0.8], np.float32)])

    assert (errors.worst, errors.average) == pytest.approx((0.1, 0.1 / math.sqrt(2)), rel=1e-5)
    assert (SCORES.text(0.033), SCORES.required(0.02)) == ("3.3e-02", "≤ 0.02")


def test_a_batch_may_move_a_score_in_proportion_to_the_library_s_error() -> None:
    assert SCORES.batch_limit(None, half=False) == SCORES.batch
    assert SCORES.batch_limit(Errors(0.001, 0.001), half=True) == SCORES.batch_half
    assert SCORES.batch_limit(Errors(0.04, 0.01), half=True) == pytest.approx(0.02)
