"""The routes of TEI, vLLM and Cohere."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from models import Preprocessor
from tests.support.http.requests import (
    DOCUMENTS,
    FIREWORKS,
    FOX,
    QUERY,
    embed,
    openai_error,
    rerank,
    scores,
    tokens,
    vector,
    vectors,
)


def _tei_error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error", "error_type"]
    return dict(answer.json())


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_66_rerank_with_texts_is_answered_as_tei_does(plain: httpx.Client, path: str) -> None:
    rows = plain.post(path, json={"query": QUERY, "texts": DOCUMENTS}).json()

    expected = rerank(plain).json()["data"]
    assert rows == [{"index": item["index"], "score": item["relevance_score"]} for item in expected]


def test_66_texts_come_back_when_asked(plain: httpx.Client) -> None:
    rows = plain.post("/rerank", json={"query": QUERY, "texts": DOCUMENTS, "return_text": True, "top_n": 1}).json()

    assert len(rows) == 1
    assert rows[0]["text"] == DOCUMENTS[rows[0]["index"]]


def test_66_its_errors_are_flat_and_never_422(plain: httpx.Client) -> None:
    error = _tei_error(plain.post("/rerank", json={"query": QUERY, "texts": []}), 400)

    assert error["error_type"] == "Empty"


def test_66_texts_and_documents_are_one_too_many(plain: httpx.Client) -> None:
    answer = plain.post("/rerank", json={"query": QUERY, "texts": ["a"], "documents": ["a"]})

    assert answer.status_code == 400


def test_84_embed_gives_bare_unit_vectors(plain: httpx.Client) -> None:
    rows = plain.post("/embed", json={"inputs": FOX}).json()

    assert np.array_equal(np.float32(rows), vectors(plain, [FOX]))


def test_84_or_raw_ones(plain: httpx.Client) -> None:
    rows = plain.post("/embed", json={"inputs": ["a", FOX], "normalize": False}).json()

    assert np.array_equal(np.float32(rows), vectors(plain, ["a", FOX], FIREWORKS))


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"inputs": []}, "Empty"),
        ({"inputs": "a " * 9000}, "Validation"),
        ({"inputs": 7}, "Validation"),
        ({}, "Validation"),
    ],
)
def test_84_its_errors_are_flat(plain: httpx.Client, fields: dict[str, object], kind: str) -> None:
    assert _tei_error(plain.post("/embed", json=fields), 400)["error_type"] == kind


def test_84_overlong_text_is_cut_when_asked(plain: httpx.Client) -> None:
    answer = plain.post("/embed", json={"inputs": "a " * 9000, "truncate": True})

    assert answer.status_code == 200
    assert answer.headers["x-hearth-truncated"] == "1"


def test_85_tokenize_counts_as_embeddings_do(plain: httpx.Client, embedder: Preprocessor) -> None:
    body = plain.post("/tokenize", json={"prompt": FOX}).json()

    assert body["count"] == len(body["tokens"]) == tokens(embed(plain, FOX))
    assert body["max_model_len"] == embedder.info.max_tokens


def test_85_with_inputs_it_speaks_tei(plain: httpx.Client) -> None:
    [rows] = plain.post("/tokenize", json={"inputs": "Hello world"}).json()

    assert set(rows[0]) == {"id", "text", "special", "start", "stop"}
    assert [row["special"] for row in rows] == [False] * (len(rows) - 1) + [True]
    assert "".join(row["text"] for row in rows[:-1]) == "Hello world"


@pytest.mark.parametrize("fields", [{}, {"prompt": "a", "inputs": "a"}])
def test_85_both_or_neither_is_400(plain: httpx.Client, fields: dict[str, str]) -> None:
    assert plain.post("/tokenize", json=fields).status_code == 400


def test_85_text_comes_back_from_its_tokens(plain: httpx.Client) -> None:
    ids = plain.post("/tokenize", json={"prompt": FOX, "add_special_tokens": False}).json()["tokens"]

    assert plain.post("/detokenize", json={"tokens": ids}).json() == {"prompt": FOX}
    assert plain.post("/decode", json={"ids": [ids, ids]}).json() == [FOX, FOX]


@pytest.mark.parametrize(
    "names", [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")]
)
@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_86_score_keeps_the_order_of_its_pairs(plain: httpx.Client, path: str, names: tuple[str, str]) -> None:
    body = plain.post(path, json={names[0]: QUERY, names[1]: DOCUMENTS}).json()

    assert [item["index"] for item in body["data"]] == [0, 1, 2, 3]
    assert np.array_equal(np.float32([item["score"] for item in body["data"]]), scores(rerank(plain)))


def test_86_n_queries_meet_n_documents(plain: httpx.Client) -> None:
    body = plain.post("/score", json={"queries": [QUERY, "other"], "documents": DOCUMENTS[:2]}).json()

    first = scores(rerank(plain, documents=DOCUMENTS[:1]))
    second = scores(rerank(plain, query="other", documents=DOCUMENTS[1:2]))
    assert [np.float32(item["score"]) for item in body["data"]] == [first[0], second[0]]


def test_86_other_numbers_do_not_pair(plain: httpx.Client) -> None:
    openai_error(plain.post("/score", json={"queries": ["a", "b"], "documents": ["a", "b", "c"]}), 400)


def test_87_cohere_gives_vectors_by_type(plain: httpx.Client) -> None:
    asked = {"texts": ["a", FOX], "input_type": "search_document", "embedding_types": ["float"]}

    body = plain.post("/v2/embed", json=asked).json()

    assert body["response_type"] == "embeddings_by_type"
    assert np.array_equal(np.float32(body["embeddings"]["float"]), vectors(plain, ["a", FOX], prompt_name="document"))


@pytest.mark.parametrize("path", ["/v1/embed", "/v1/v1/embed"])
def test_87_its_first_version_gives_a_bare_list(plain: httpx.Client, path: str) -> None:
    body = plain.post(path, json={"texts": ["a", FOX], "input_type": "search_document"}).json()

    assert body["response_type"] == "embeddings_floats"
    assert body["texts"] == ["a", FOX]
    assert np.array_equal(np.float32(body["embeddings"]), vectors(plain, ["a", FOX], prompt_name="document"))


@pytest.mark.parametrize("path", ["/v1/embed", "/v1/v1/embed", "/v1/v2/embed"])
def test_87_types_that_are_named_give_the_second_version_s_shape(plain: httpx.Client, path: str) -> None:
    body = plain.post(path, json={"texts": [FOX], "embedding_types": ["float", "base64"]}).json()

    assert body["response_type"] == "embeddings_by_type"
    assert np.array_equal(np.float32(body["embeddings"]["float"]), vectors(plain, [FOX]))
    assert np.array_equal(np.frombuffer(base64.b64decode(body["embeddings"]["base64"][0]), "<f4"), vector(plain, FOX))


def test_87_with_fewer_dimensions(plain: httpx.Client) -> None:
    body = plain.post("/v2/embed", json={"texts": ["a"], "output_dimension": 64}).json()

    assert len(body["embeddings"]["float"][0]) == 64


@pytest.mark.parametrize("fields", [{"texts": ["a"], "embedding_types": ["binary"]}, {"images": ["x"]}, {"texts": []}])
def test_87_what_is_not_offered_is_400(plain: httpx.Client, fields: dict[str, object]) -> None:
    openai_error(plain.post("/v2/embed", json=fields), 400)


@pytest.mark.parametrize(("model", "kind"), [("demo-embedding", "embedding"), ("demo-reranker", "reranker")])
def test_88_info_says_one_type(plain: httpx.Client, model: str, kind: str) -> None:
    body = plain.get("/info", params={"model": model}).json()

    assert list(body["model_type"]) == [kind]
    assert body["max_input_length"] == 8192


def test_83_the_page_of_the_api_refers_to_no_other_host(plain: httpx.Client) -> None:
    page = plain.get("/docs")

    assert page.status_code == 200
    assert "://" not in page.text.replace(str(plain.base_url), "")


def test_83_every_route_is_described(plain: httpx.Client) -> None:
    paths = plain.get("/openapi.json").json()["paths"]

    assert {"/v1/embeddings", "/inference/v1/rerank", "/embed", "/v2/embed", "/score", "/health"} <= set(paths)
