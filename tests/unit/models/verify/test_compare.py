"""What is said of another server's vectors and scores."""

import re
from typing import Any

import numpy as np
import pytest

from models import Row, compare_scores, compare_vectors

RANDOM = np.random.default_rng(1)
OURS: list[Row] = [RANDOM.normal(size=16).astype(np.float32) * 5 for _ in range(9)]
NAMES = [f"text {number}" for number in range(9)]


def unit(rows: Any) -> list[Row]:
    return [row / np.linalg.norm(row) for row in rows]


def noisy(rows: list[Row], share: float) -> list[Row]:
    random = np.random.default_rng(2)
    return [row + share * np.linalg.norm(row) / 4 * random.normal(size=16).astype(np.float32) for row in rows]


@pytest.mark.parametrize(
    ("theirs", "space", "must_reindex", "said"),
    [
        (OURS, "same", False, "the same space: no need to index again .* their vectors are raw"),
        (unit(OURS), "same", False, "their vectors have length 1, like ours on /v1"),
        (noisy(OURS, 0.02), "same", False, "the same space"),
        ([row * 3 for row in OURS], "scaled", False, "except for scale: their vectors are 3 times as long as ours"),
        (noisy(OURS, 0.2), "other", True, "another model, or different prompts, .* index again .median cosine 0.9"),
        ([row[::-1] for row in OURS], "other", True, "another model"),
        ([*OURS[:8], OURS[0]], "partly", True, "not for every text: .* 'text 8' differs most"),
        ([np.zeros(16, dtype=np.float32)] * 9, "other", True, "another model"),
        ([np.tile(row, 2) for row in OURS], "other", True, "their vectors have 32 dimensions, ours 16"),
    ],
)
def test_the_space_is_told_and_what_to_do(theirs: list[Row], space: str, must_reindex: bool, said: str) -> None:
    comparison = compare_vectors(OURS, theirs, NAMES)

    assert (comparison.space, comparison.must_reindex) == (space, must_reindex)
    assert re.search(said, comparison.verdict)


SCORES: list[Row] = [np.array([0.9, 0.5, 0.1, 0.3], dtype=np.float32), np.array([0.2, 0.8, 0.6, 0.4], dtype=np.float32)]


@pytest.mark.parametrize(
    ("theirs", "order", "said"),
    [
        (SCORES, "same", "keep your thresholds (worst difference 0.0000)"),
        ([row + 0.01 for row in SCORES], "same", "keep your thresholds"),
        ([np.log(row / (1 - row)) for row in SCORES], "same", "after applying the sigmoid to theirs"),
        ([row / 2 for row in SCORES], "order", "the same order on another scale: choose new thresholds"),
        ([1 - row for row in SCORES], "other", "another model or another prompt: 0% of the pairs in the same order"),
    ],
)
def test_the_order_is_told_and_what_to_do(theirs: list[Row], order: str, said: str) -> None:
    comparison = compare_scores(SCORES, theirs)

    assert comparison.order == order
    assert said in comparison.verdict


def test_documents_that_we_do_not_tell_apart_may_come_in_any_order() -> None:
    ours = [np.array([0.5, 0.50001, 0.9], dtype=np.float32)]

    assert compare_scores(ours, [np.array([0.3, 0.2, 0.8], dtype=np.float32)]).order_agreement == 1
