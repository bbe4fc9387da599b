"""`hearth check --against URL`: another Hearth on a real socket, with the same model, another, and another dtype."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models import demo_models
from server.cli.main import app
from tests.support.checkpoints.qwen3 import build
from tests.support.server.process import ServerProcess
from tests.support.zoo.build import build as build_recipe
from tests.support.zoo.catalogue import ZOO

EMBEDDER, RERANKER = demo_models()
BERT = next(recipe for recipe in ZOO if recipe.name == "thenlper/gte-base")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The demo pair in bfloat16 behind a key, with strangers of the same and of another width beside it."""
    folder = tmp_path_factory.mktemp("other")
    strangers = [build(folder / "stranger", hidden_size=256), build(folder / "wide", hidden_size=512)]
    strange_reranker = build(folder / "strange-reranker", "reranker")
    models = [
        *({"path": path, "dtype": "bfloat16"} for path in demo_models()),
        *({"path": str(path)} for path in (*strangers, strange_reranker)),
        {"path": str(build_recipe(BERT, folder)), "dtype": "float32"},
    ]
    with ServerProcess(folder / "server", {"models": models, "auth": {"keys": ["sesame"]}}) as hearth:
        yield hearth


def check(model: str, url: str, *arguments: str, key: str = "sesame") -> tuple[int, dict[str, Any]]:
    command = ["check", model, "--against", url, "--key", key, "--dtype", "float32", "--json", *arguments]
    result = CliRunner().invoke(app, command)
    assert result.exit_code in (0, 1), result.stderr
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize(
    ("below", "dialect", "are_unit"),
    [
        ("/v1", "OpenAI", True),
        ("", "OpenAI", True),
        ("/v1/embeddings", "OpenAI", True),
        ("/inference/v1", "OpenAI", False),
        ("/embed", "TEI", True),
        ("/v2/embed", "Cohere", True),
    ],
)
def test_the_same_model_in_another_dtype_is_the_same_space(
    other: ServerProcess, below: str, dialect: str, are_unit: bool
) -> None:
    status, found = check(EMBEDDER, other.url + below)

    assert (status, found["passed"], found["found"]["space"]) == (0, True, "same")
    assert (found["against"]["dialect"], found["found"]["are_unit"]) == (dialect, are_unit)
    assert 0.999 < found["found"]["worst_cosine"] < 1
    assert found["found"]["texts"] == 30
    assert "no need to index again" in found["verdict"]


@pytest.mark.parametrize("name", ["stranger", "wide"])
def test_another_model_must_index_again(other: ServerProcess, name: str) -> None:
    status, found = check(EMBEDDER, other.url, "--model", name)

    assert (status, found["passed"], found["found"]["space"]) == (1, False, "other")
    assert "index again" in found["verdict"]


def test_a_model_of_512_tokens_gets_texts_that_fit_it(other: ServerProcess, tmp_path: Path) -> None:
    status, found = check(str(build_recipe(BERT, tmp_path)), other.url)

    assert (status, found["refused"]) == (0, [])
    assert found["found"]["worst_cosine"] > 0.99999


@pytest.mark.parametrize("below", ["/v1", "", "/inference/v1", "/v2", "/rerank"])
def test_the_same_reranker_gives_the_same_scores(other: ServerProcess, below: str) -> None:
    status, found = check(RERANKER, other.url + below)

    assert (status, found["found"]["order"]) == (0, "same")
    assert 0 < found["found"]["worst_difference"] < 0.02


def test_another_reranker_is_told(other: ServerProcess) -> None:
    status, found = check(RERANKER, other.url, "--model", "strange-reranker")

    assert (status, found["found"]["order"]) == (1, "other")


def test_people_read_a_table_and_a_sentence(other: ServerProcess) -> None:
    command = ["check", EMBEDDER, "--against", other.url, "--key", "sesame"]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})

    assert result.exit_code == 0
    assert "OpenAI, model demo-embedding" in result.stdout
    assert "the same space: no need to index again" in result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("url", "key", "message"),
    [
        ("{url}", "wrong", "denied access with status 401; give its API key with --key"),
        ("http://127.0.0.1:9/v1", "sesame", "the request to http://127.0.0.1:9/v1/embeddings failed: "),
        ("127.0.0.1:8000", "sesame", "must begin with http:// or https://; got 127.0.0.1:8000"),
    ],
)
def test_a_server_that_does_not_answer_is_one_line_and_status_2(
    other: ServerProcess, url: str, key: str, message: str
) -> None:
    command = ["check", EMBEDDER, "--against", url.format(url=other.url), "--key", key]
    result = CliRunner().invoke(app, command)

    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
