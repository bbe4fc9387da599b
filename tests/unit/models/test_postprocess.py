"""Rows to answers, with numbers worked out by hand."""

import numpy as np
import pytest

from models.interface import Row
from models.postprocess import finish_logits, finish_scores, finish_vectors


def row(*values: float) -> Row:
    return np.array(values, dtype=np.float32)


def test_a_vector_is_cut_before_it_is_normalised() -> None:
    assert finish_vectors([row(3, 4, 12)], dimensions=2, normalize=True).tolist() == [pytest.approx([0.6, 0.8])]


def test_a_raw_vector_is_the_plain_slice() -> None:
    assert finish_vectors([row(3, 4, 12)], dimensions=2).tolist() == [[3, 4]]


def test_a_zero_vector_stays_zero() -> None:
    assert finish_vectors([row(0, 0)], normalize=True).tolist() == [[0, 0]]


def test_layer_norm_comes_before_a_slice_and_only_before_a_slice() -> None:
    # Mean 2, variance 2/3: (1 - 2) / sqrt(2/3 + 1e-5).
    cut = finish_vectors([row(1, 2, 3)], dimensions=1, layer_norm=True)
    whole = finish_vectors([row(1, 2, 3)], dimensions=3, layer_norm=True)

    assert cut.tolist() == [pytest.approx([-1.2247357])]
    assert whole.tolist() == [[1, 2, 3]]


def test_logits_are_raw_unless_probabilities_are_asked_for() -> None:
    assert finish_logits([row(0, 2)]).tolist() == [[0, 2]]
    assert finish_logits([row(0, 2)], normalize=True).tolist() == [pytest.approx([0.11920292, 0.88079708])]


def test_probabilities_of_huge_logits_are_finite_and_sum_to_one() -> None:
    probabilities = finish_logits([row(-1e38, 1e38), row(1e4, 1e4)], normalize=True)

    assert probabilities.tolist() == [[0, 1], [0.5, 0.5]]


def test_a_score_is_the_sigmoid_of_the_log_odds() -> None:
    assert finish_scores([row(0), row(2), row(-2)]).tolist() == pytest.approx([0.5, 0.88079708, 0.11920292])


def test_a_score_equals_the_probability_of_yes_among_no_and_yes() -> None:
    pairs = np.random.default_rng(0).normal(scale=8, size=(1000, 2)).astype(np.float32)

    scores = finish_scores(pairs[:, 1:] - pairs[:, :1])

    assert np.abs(scores - finish_logits(pairs, normalize=True)[:, 1]).max() < 1e-6


def test_scores_stay_within_their_range_and_raw_scores_are_log_odds() -> None:
    assert finish_scores([row(-1e30), row(1e30)]).tolist() == [0, 1]
    assert finish_scores([row(-7.5)], raw=True).tolist() == [-7.5]
