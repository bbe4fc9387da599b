"""GET models, and the names that reach a model."""

import httpx
import pytest

from tests.support.http.requests import FIREWORKS, V1, embed, fireworks_error, openai_error, rerank

KEYS = {"id", "object", "created", "owned_by", "kind", "supports_chat", "supports_image_input", "supports_tools"} | {
    "context_length"
}
NAMES = [
    "Qwen/Qwen3-Reranker-8B",
    "fireworks/qwen3-reranker-8b",
    "accounts/fireworks/models/qwen3-reranker-8b",
    "accounts/acme/models/qwen3-reranker-8b",
    "accounts/fireworks/models/qwen3-reranker-8b#accounts/A/deployments/D",
    "qwen3-reranker-8b",
    "QWEN/qwen3-reranker-8B",
    "fireworks/accounts/fireworks/models/qwen3-reranker-8b",
    "fireworks_ai/accounts/fireworks/models/qwen3-reranker-8b",
]


def test_23_without_model_it_is_the_default_embedder_by_its_id(plain: httpx.Client) -> None:
    assert embed(plain, "a").json()["model"] == "demo-embedding"


@pytest.mark.parametrize("name", ["fireworks/x-unknown", "demo", "accounts/A/deployments/D", "demo-embedding-2"])
def test_23_an_unknown_model_is_404_and_the_served_ones_are_named(plain: httpx.Client, name: str) -> None:
    error = openai_error(embed(plain, "a", model=name), 404)

    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["message"] == (
        f"The model `{name}` does not exist or you do not have access to it. "
        "Served models: demo-embedding, demo-reranker."
    )


def test_23_on_the_fireworks_door_it_is_not_found_in_its_words(plain: httpx.Client) -> None:
    error = fireworks_error(embed(plain, "a", FIREWORKS, model="fireworks/x-unknown"), 404)

    assert error["code"] == "NOT_FOUND"
    assert error["message"] == "Model not found, inaccessible, and/or not deployed"


@pytest.mark.parametrize("name", NAMES)
def test_24_every_spelling_of_a_name_reaches_the_model_and_is_echoed(odd: httpx.Client, name: str) -> None:
    answer = rerank(odd, model=name)

    assert answer.status_code == 200
    assert answer.json()["model"] == name


@pytest.mark.parametrize("name", ["text-embedding-3-small", "TEXT-EMBEDDING-3-SMALL", "qwen3-embedding-0p6b"])
def test_24_an_alias_reaches_its_model(odd: httpx.Client, name: str) -> None:
    assert embed(odd, "a", model=name).json()["model"] == name


def test_24_a_last_segment_that_two_models_share_names_none(odd: httpx.Client) -> None:
    openai_error(embed(odd, "a", model="twin"), 404)
    assert embed(odd, "a", model="one/twin").status_code == 200


def test_24_also_when_the_model_is_of_the_wrong_kind(plain: httpx.Client) -> None:
    error = openai_error(embed(plain, "a", model="demo-reranker#" + "x" * 450), 400)

    assert error["code"] == "wrong_model_kind"
    assert len(error["message"]) < 300


def test_24_a_long_name_is_quoted_in_part(plain: httpx.Client) -> None:
    error = openai_error(embed(plain, "a", model="x" * 500), 404)

    assert len(error["message"]) < 300


@pytest.mark.parametrize("wanted", [7, ["demo-embedding"], {"id": "a"}, True])
def test_a_model_that_is_no_string_is_400(plain: httpx.Client, wanted: object) -> None:
    assert openai_error(embed(plain, "a", model=wanted), 400)["param"] == "model"


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/inference/v1/models", "/v1/models/"])
def test_69_models_are_listed_with_the_keys_of_both_apis(plain: httpx.Client, path: str) -> None:
    body = plain.get(path).json()

    assert body["object"] == "list"
    assert [item["id"] for item in body["data"]] == ["demo-embedding", "demo-reranker"]
    assert [set(item) - {"hearth"} for item in body["data"]] == [KEYS] * 2
    assert [item["kind"] for item in body["data"]] == ["EMBEDDING_MODEL", "RERANKER_MODEL"]
    assert [item["context_length"] for item in body["data"]] == [8192] * 2


def test_69_fireworks_keys_stand_alone_on_its_door(plain: httpx.Client) -> None:
    body = plain.get("/inference/v1/models").json()

    assert [set(item) for item in body["data"]] == [KEYS] * 2


def test_69_how_a_model_is_run_is_told_on_the_openai_door(plain: httpx.Client) -> None:
    hearth = plain.get("/v1/models/demo-reranker").json()["hearth"]

    assert (hearth["kind"], hearth["backend"], hearth["dimensions"]) == ("reranker", "fake", 256)
    assert hearth["kind_reason"]


def test_69_created_does_not_change(plain: httpx.Client) -> None:
    first, second = plain.get("/v1/models").json(), plain.get("/v1/models").json()

    assert first == second
    assert isinstance(first["data"][0]["created"], int)


def test_69_aliases_are_listed_too(odd: httpx.Client) -> None:
    names = [item["id"] for item in odd.get("/v1/models").json()["data"]]

    assert names[:3] == ["Qwen/Qwen3-Embedding-0.6B", "text-embedding-3-small", "Qwen/Qwen3-Reranker-8B"]


@pytest.mark.parametrize("base", ["/v1/models/", "/inference/v1/models/", "/models/"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Qwen%2FQwen3-Reranker-8B", "Qwen/Qwen3-Reranker-8B"),
        ("Qwen/Qwen3-Reranker-8B", "Qwen/Qwen3-Reranker-8B"),
        ("fireworks%2Fqwen3-embedding-0p6b", "fireworks/qwen3-embedding-0p6b"),
        ("qwen3-reranker-8b%23accounts%2FA%2Fdeployments%2FD", "qwen3-reranker-8b#accounts/A/deployments/D"),
    ],
)
def test_69_a_model_is_found_by_its_id_raw_or_encoded(odd: httpx.Client, base: str, path: str, name: str) -> None:
    answer = odd.get(base + path)

    assert answer.status_code == 200
    assert answer.json()["id"] == name


def test_69_an_unknown_id_is_404(odd: httpx.Client) -> None:
    assert openai_error(odd.get("/v1/models/nope"), 404)["code"] == "model_not_found"
    assert fireworks_error(odd.get("/inference/v1/models/nope"), 404)["code"] == "NOT_FOUND"


@pytest.mark.parametrize("path", [V1, FIREWORKS])
def test_the_default_model_may_be_asked_for_by_an_empty_name(plain: httpx.Client, path: str) -> None:
    assert embed(plain, "a", path, model="").json()["model"] == "demo-embedding"
