"""Every model of the zoo through the server's two base URLs, compared with sentence-transformers and transformers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.checkpoints.calibration import DOCUMENTS, QUERIES
from tests.support.zoo.catalogue import ZOO
from tests.support.zoo.measure import TEXTS, Measurement, cosines
from tests.support.zoo.recipe import Recipe
from tests.support.zoo.serve import served
from tests.support.zoo.verdict import faults

EMBEDDER = next(recipe for recipe in ZOO if recipe.kind == "embedder")
RERANKER = next(recipe for recipe in ZOO if recipe.kind == "reranker")


@pytest.mark.parametrize("recipe", ZOO, ids=lambda it: it.name)
def test_it_agrees_with_the_reference_and_runs_as_expected(
    recipe: Recipe, measured: Callable[[Recipe], Measurement]
) -> None:
    assert faults(measured(recipe)) == []


@pytest.mark.parametrize("recipe", [recipe for recipe in ZOO if recipe.kind != "reranker"], ids=lambda it: it.name)
async def test_in_bfloat16_no_vector_changes_with_its_batch(
    recipe: Recipe, folder_of: Callable[[Recipe], Path]
) -> None:
    async with served(folder_of(recipe), dtype="bfloat16") as model:
        assert cosines(await model.alone(TEXTS), await model.vectors(TEXTS)).min() >= 0.9999


@pytest.mark.parametrize("recipe", [recipe for recipe in ZOO if recipe.kind == "reranker"], ids=lambda it: it.name)
async def test_in_bfloat16_no_score_changes_with_its_batch(recipe: Recipe, folder_of: Callable[[Recipe], Path]) -> None:
    async with served(folder_of(recipe), dtype="bfloat16") as model:
        alone = np.concatenate([await model.scores(QUERIES[0], [document]) for document in DOCUMENTS])
        assert np.abs(alone - await model.scores(QUERIES[0], DOCUMENTS)).max() <= 5e-3


@pytest.mark.parametrize(
    ("recipe", "changed", "words"),
    [
        (EMBEDDER, {"worst_cosine": 0.9999}, "vectors differ"),
        (EMBEDDER, {"worst_cosine": float("nan")}, "vectors differ"),
        (EMBEDDER, {"prompt_cosine": 0.99}, "its prompt and text"),
        (EMBEDDER, {"worst_length": 0.01}, "longer or shorter"),
        (EMBEDDER, {"worst_alone": 0.9999}, "changes with its batch"),
        (EMBEDDER, {"shuffled_cosine": 0.99999}, "proves nothing"),
        (EMBEDDER, {"dimensions": {1: 400, 32: 400, 64: 200, 65: 400}}, "get statuses"),
        (EMBEDDER, {"cut_cosine": 0.99}, "the model's rule"),
        (RERANKER, {"worst_score": 1e-3}, "scores differ"),
        (RERANKER, {"worst_alone": 1e-3}, "changes with its batch"),
        (RERANKER, {"log_odds_std": 0.1}, "proves nothing"),
        (RERANKER, {"worst_logit": 0.1}, "token logits differ"),
    ],
)
def test_a_fault_is_seen(
    recipe: Recipe, changed: dict[str, Any], words: str, measured: Callable[[Recipe], Measurement]
) -> None:
    (fault,) = faults(replace(measured(recipe), **changed))

    assert words in fault


def test_another_layout_than_the_expected_is_seen(measured: Callable[[Recipe], Measurement]) -> None:
    measurement = measured(EMBEDDER)
    padded = replace(measurement, about={**measurement.about, "layout": "padded", "kind": "llm", "context_length": 7})

    assert faults(padded) == ["it runs padded, not packed", "it is loaded as llm", "it takes 7 tokens, not 32768"]
