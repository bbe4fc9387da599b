"""Every model of the zoo through the server's doors, held against sentence-transformers and transformers.

Tolerances: CONTRACT.md section 16, float32.
"""

from collections.abc import Callable

import pytest

from tests.zoo.catalogue import ZOO
from tests.zoo.measuring import Measured
from tests.zoo.recipe import Recipe

Measure = Callable[[Recipe], Measured]

COSINE = {"packed": 0.999999, "unpadded": 0.99999, "padded": 0.99999, "sentence_transformers": 0.99999}
COSINE_ALONE = 0.999999
SCORE = 1e-5
LENGTH = 1e-5
LOGIT = 1e-4
# What the same words in another order must at least change, for a cosine near 1 to prove anything.
SHUFFLED = 0.999
LOG_ODDS_STD = 1.5

# What colleagues' branches still bring.
NOT_YET = {
    *("nomic-ai/nomic-embed-text-v1.5", "nomic-ai/nomic-embed-text-v1", "zai-org/GLM-4.5", "openai/gpt-oss-20b"),
    *("moonshotai/Kimi-K2-Instruct-0905", "deepseek-ai/DeepSeek-R1-0528", "Alibaba-NLP/gte-modernbert-base"),
    *("google/embeddinggemma-300m", "intfloat/multilingual-e5-base", "BAAI/bge-reranker-v2-m3"),
    *("cross-encoder/ms-marco-MiniLM-L6-v2", "mixedbread-ai/mxbai-rerank-base-v1"),
    *("Alibaba-NLP/gte-reranker-modernbert-base", "tomaarsen/Qwen3-Reranker-0.6B-seq-cls"),
}
ZOO = [recipe for recipe in ZOO if recipe.name not in NOT_YET]
RERANKERS = [recipe for recipe in ZOO if recipe.kind == "reranker"]
EMBEDDERS = [recipe for recipe in ZOO if recipe.kind != "reranker"]
WITH_TOKEN_LOGITS = [recipe for recipe in ZOO if recipe.saved_as == "AutoModelForCausalLM"]
WITH_QUERY_PROMPT = [recipe for recipe in EMBEDDERS if recipe.modules and recipe.modules.prompts]
NOT_NORMALISED = [recipe for recipe in EMBEDDERS if not (recipe.modules and recipe.modules.normalize)]
CUT = [recipe for recipe in EMBEDDERS if recipe.dimensions]
UNCUT = [recipe for recipe in EMBEDDERS if not recipe.dimensions]


def name_of(recipe: Recipe) -> str:
    return recipe.name


@pytest.mark.parametrize("recipe", ZOO, ids=name_of)
def test_it_runs_the_expected_way(recipe: Recipe, measured: Measure) -> None:
    found = measured(recipe)

    assert found.way in (recipe.way, "transformers")
    assert found.about["kind"] == recipe.kind
    assert found.about["context_length"] == recipe.max_tokens


@pytest.mark.parametrize("recipe", EMBEDDERS, ids=name_of)
def test_vectors_equal_those_of_sentence_transformers(recipe: Recipe, measured: Measure) -> None:
    found = measured(recipe)

    assert found.worst_cosine >= COSINE[recipe.way]
    assert found.worst_alone >= COSINE_ALONE
    assert found.shuffled_cosine < SHUFFLED


@pytest.mark.parametrize("recipe", NOT_NORMALISED, ids=name_of)
def test_raw_vectors_have_the_same_length_too(recipe: Recipe, measured: Measure) -> None:
    assert measured(recipe).worst_length <= LENGTH


@pytest.mark.parametrize("recipe", WITH_QUERY_PROMPT, ids=name_of)
def test_the_prompt_of_the_folder_is_the_one_that_is_used(recipe: Recipe, measured: Measure) -> None:
    assert measured(recipe).prompt_cosine >= COSINE[recipe.way]


@pytest.mark.parametrize("recipe", CUT, ids=name_of)
def test_any_size_up_to_the_width_may_be_asked_for(recipe: Recipe, measured: Measure) -> None:
    found = measured(recipe)

    assert list(found.dimensions.values()) == [200, 200, 200, 400]
    assert found.cut_cosine >= COSINE_ALONE


@pytest.mark.parametrize("recipe", UNCUT, ids=name_of)
def test_no_size_but_the_width_may_be_asked_for(recipe: Recipe, measured: Measure) -> None:
    assert list(measured(recipe).dimensions.values()) == [400, 400, 200, 400]


@pytest.mark.parametrize("recipe", RERANKERS, ids=name_of)
def test_scores_equal_the_reference(recipe: Recipe, measured: Measure) -> None:
    found = measured(recipe)

    assert found.worst_score <= SCORE
    assert found.worst_alone <= SCORE
    assert found.log_odds_std >= LOG_ODDS_STD


@pytest.mark.parametrize("recipe", WITH_TOKEN_LOGITS, ids=name_of)
def test_token_logits_equal_those_of_transformers(recipe: Recipe, measured: Measure) -> None:
    assert measured(recipe).worst_logit <= LOGIT
