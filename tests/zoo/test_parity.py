"""Every model of the zoo through the server's doors, held against sentence-transformers and transformers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.zoo.catalogue import ZOO
from tests.zoo.measuring import Measured
from tests.zoo.recipe import Recipe
from tests.zoo.verdict import faults

EMBEDDER = next(recipe for recipe in ZOO if recipe.kind == "embedder")
RERANKER = next(recipe for recipe in ZOO if recipe.kind == "reranker")
# What colleagues' branches still bring.
NOT_YET = {
    *("nomic-ai/nomic-embed-text-v1.5", "nomic-ai/nomic-embed-text-v1", "zai-org/GLM-4.5", "openai/gpt-oss-20b"),
    *("moonshotai/Kimi-K2-Instruct-0905", "deepseek-ai/DeepSeek-R1-0528", "Alibaba-NLP/gte-modernbert-base"),
    *("google/embeddinggemma-300m", "intfloat/multilingual-e5-base", "BAAI/bge-reranker-v2-m3"),
    *("cross-encoder/ms-marco-MiniLM-L6-v2", "mixedbread-ai/mxbai-rerank-base-v1"),
    "Alibaba-NLP/gte-reranker-modernbert-base",
}


@pytest.mark.parametrize("recipe", [recipe for recipe in ZOO if recipe.name not in NOT_YET], ids=lambda it: it.name)
def test_it_is_served_right_and_the_expected_way(recipe: Recipe, measured: Callable[[Recipe], Measured]) -> None:
    assert [fault for fault in faults(measured(recipe)) if not fault.startswith("it runs transformers")] == []


@pytest.mark.parametrize(
    ("recipe", "changed", "words"),
    [
        (EMBEDDER, {"worst_cosine": 0.9999}, "vectors differ"),
        (EMBEDDER, {"worst_cosine": float("nan")}, "vectors differ"),
        (EMBEDDER, {"prompt_cosine": 0.99}, "its prompt and text"),
        (EMBEDDER, {"worst_length": 0.01}, "longer or shorter"),
        (EMBEDDER, {"worst_alone": 0.9999}, "changes with its batch"),
        (EMBEDDER, {"shuffled_cosine": 0.99999}, "proves nothing"),
        (EMBEDDER, {"dimensions": {1: 400, 32: 400, 64: 200, 65: 400}}, "are answered"),
        (EMBEDDER, {"cut_cosine": 0.99}, "the model's rule"),
        (RERANKER, {"worst_score": 1e-3}, "scores differ"),
        (RERANKER, {"worst_alone": 1e-3}, "changes with its batch"),
        (RERANKER, {"log_odds_std": 0.1}, "proves nothing"),
        (RERANKER, {"worst_logit": 0.1}, "token logits differ"),
    ],
)
def test_a_fault_is_seen(
    recipe: Recipe, changed: dict[str, Any], words: str, measured: Callable[[Recipe], Measured]
) -> None:
    (fault,) = faults(replace(measured(recipe), **changed))

    assert words in fault


def test_another_way_than_the_expected_one_is_seen(measured: Callable[[Recipe], Measured]) -> None:
    found = measured(EMBEDDER)
    other = replace(found, about={**found.about, "layout": "padded", "kind": "llm", "context_length": 7})

    assert faults(other) == ["it runs padded, not packed", "it is taken for a llm", "it takes 7 tokens, not 32768"]
