"""The recipes: they have the published configurations, and write the files that the repositories have."""

from pathlib import Path

import pytest

from tests.support.zoo.build import build
from tests.support.zoo.catalogue import SEEDS, ZOO
from tests.support.zoo.families.random_weights import parameters

# As the repositories and MTEB count them. GLM-4.5 and DeepSeek-R1 without the layer that predicts ahead.
PUBLISHED = {
    "Qwen/Qwen3-Embedding-0.6B": 595_776_512,
    "Qwen/Qwen3-Embedding-4B": 4_021_774_336,
    "Qwen/Qwen3-Embedding-8B": 7_567_295_488,
    "Qwen/Qwen3-Reranker-8B": 8_188_548_096,
    "nomic-ai/nomic-embed-text-v1.5": 136_731_648,
    "WhereIsAI/UAE-Large-V1": 335_141_888,
    "BAAI/bge-base-en-v1.5": 109_482_240,
    "BAAI/bge-small-en-v1.5": 33_360_000,
    "sentence-transformers/all-MiniLM-L6-v2": 22_713_216,
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": 117_653_760,
    "openai/gpt-oss-20b": 20_914_757_184,
    "deepseek-ai/DeepSeek-R1-0528": 671_026_404_352,
}
SEED_NAMES = Path(__file__).parent / "seed_models.txt"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_has_the_published_number_of_parameters(name: str) -> None:
    recipe = next(recipe for recipe in ZOO if recipe.name == name)

    assert parameters(recipe.saved_as, recipe.full_native) == PUBLISHED[name]


def test_no_model_of_the_seed_documents_is_missing() -> None:
    assert sorted(recipe.seed_name for recipe in SEEDS) == sorted(SEED_NAMES.read_text("utf-8").split())


def test_the_same_recipe_gives_the_same_files(tmp_path: Path) -> None:
    recipe = ZOO[0]

    first, second = (build(recipe, tmp_path / name) for name in ("first", "second"))

    files = sorted(file.relative_to(first) for file in first.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(second) for file in second.rglob("*") if file.is_file())
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
