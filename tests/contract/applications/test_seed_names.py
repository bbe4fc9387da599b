"""The list of models in config.yaml: with it, every name of Fireworks' guide reaches its model, however decorated."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models import demo_models, model_id
from server.config import ModelConfig
from server.registry import ModelRegistry, load_registry
from tests.support.http.requests import FIREWORKS, FIREWORKS_RERANK, RERANK, V1, embed, rerank
from tests.support.server.process import ServerProcess
from tests.support.zoo.catalogue import SEEDS

CONFIG = Path(__file__).parents[3] / "config.yaml"
EMBEDDER, RERANKER = demo_models()

# As the guide writes them, with the model that each means.
NAMES = {recipe.seed_name: recipe.name for recipe in SEEDS}
# docs/http-contract.md, Models; {name} is what the guide writes, {last} its last part.
DECORATIONS = [
    "{name}",
    "{last}",
    "fireworks/{last}",
    "fireworks_ai/{name}",
    "accounts/fireworks/models/{last}",
    "accounts/acme/models/{last}",
    "accounts/fireworks/models/{last}#accounts/A/deployments/D",
    "fireworks/accounts/fireworks/models/{last}",
    "fireworks_ai/accounts/fireworks/models/{last}",
    "{upper}",
]


def listed() -> list[dict[str, Any]]:
    """The second list of models in config.yaml, as it is when its comment signs are taken away."""
    lines = CONFIG.read_text("utf-8").split("# models:\n")[2].splitlines()
    taken = [line.removeprefix("# ") for line in lines if line.startswith("#   - ")]
    return yaml.safe_load("\n".join(taken))


def stand_ins() -> list[dict[str, Any]]:
    """The list with the demo pair in place of each model, without weights."""

    def stand_in(entry: dict[str, Any]) -> dict[str, Any]:
        name = model_id(entry["path"])
        path = RERANKER if "Reranker" in name else EMBEDDER
        return entry | {"path": path, "id": name, "backend": "fake"}

    return [stand_in(entry) for entry in listed()]


@pytest.fixture(scope="module")
def registry() -> ModelRegistry:
    """The list, loaded."""
    return load_registry([ModelConfig(**entry) for entry in stand_ins()])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The list, served."""
    with ServerProcess(tmp_path_factory.mktemp("seeds"), {"models": stand_ins()}) as hearth:
        yield hearth


def test_the_list_has_every_model_once() -> None:
    assert sorted(entry["path"] for entry in listed()) == sorted(NAMES.values())


@pytest.mark.parametrize("decoration", DECORATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_24_every_name_of_the_guide_finds_its_model(registry: ModelRegistry, name: str, decoration: str) -> None:
    asked = decoration.format(name=name, last=name.rsplit("/", 1)[-1], upper=name.upper())

    assert registry.find(asked, "embedder").id == NAMES[name]


@pytest.mark.parametrize("name", NAMES)
def test_24_every_name_of_the_guide_answers_over_http(server: ServerProcess, name: str) -> None:
    answers = (
        [rerank(server.client, path, model=name) for path in (RERANK, FIREWORKS_RERANK)]
        if "reranker" in name
        else [embed(server.client, "a", path, model=name) for path in (V1, FIREWORKS)]
    )

    assert [(answer.status_code, answer.json()["model"]) for answer in answers] == [(200, name)] * 2


def test_69_they_can_be_looked_up(server: ServerProcess) -> None:
    listed_ids = {model["id"] for model in server.client.get("/v1/models").json()["data"]}

    assert listed_ids == set(NAMES.values())
    assert server.client.get("/v1/models/fireworks%2Fqwen3-embedding-0p6b").status_code == 200
