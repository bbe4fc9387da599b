"""Rerank and score by an embedding model."""

from typing import Any

import numpy as np
import pytest

from models import Preprocessor
from server.config import RequestLimits
from server.processing.cosine import cosine_scores
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server, served

DOCUMENTS = ["a", "bb", "ccc"]
RANKING = {"query": {"text": "q"}, "passages": [{"text": text} for text in DOCUMENTS]}


def test_cosines_have_the_range_of_cosines() -> None:
    rows = np.array([[1, 0], [3, 0], [0, 2], [-1, 0], [0, 0]], dtype=np.float32)

    assert cosine_scores(rows, 1).tolist() == [1, 0, -1, 0]


def test_each_document_meets_its_own_query() -> None:
    rows = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float32)

    assert cosine_scores(rows, 2).tolist() == [1, 0]


async def test_scores_are_the_cosines_of_vectors_behind_their_prompts(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        body = (await here.client.post("/v1/rerank", json={"query": "q", "documents": DOCUMENTS})).json()
        query = (await here.embed("q", prompt_name="query")).json()["data"][0]["embedding"]
        documents = (await here.embed(DOCUMENTS, prompt_name="document")).json()["data"]

    expected = [np.dot(query, row["embedding"]) for row in documents]
    scores = {row["index"]: row["relevance_score"] for row in body["data"]}
    assert [scores[index] for index in range(3)] == pytest.approx(expected, abs=1e-6)
    assert [row["index"] for row in body["data"]] == np.argsort([-score for score in expected], kind="stable").tolist()


async def test_a_prompt_behind_the_model_s_name_is_not_put_before_documents(embedder: ServedModel) -> None:
    body = {"query": "a", "documents": ["b"]}
    async with in_process_server(embedder) as here:
        plain, prompted = [
            (await here.client.post("/v1/rerank", json=body | {"model": model})).json()["data"]
            for model in ("embedder", "embedder:query")
        ]

    assert prompted == plain


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rerank", {"query": "q", "documents": DOCUMENTS}),
        ("/inference/v1/rerank", {"query": "q", "documents": DOCUMENTS}),
        ("/rerank", {"query": "q", "texts": DOCUMENTS}),
        ("/score", {"queries": "q", "documents": DOCUMENTS}),
        ("/v1/ranking", RANKING),
    ],
)
@pytest.mark.parametrize("model", ["embedder", None])
async def test_every_route_says_so(embedder: ServedModel, path: str, body: dict[str, Any], model: str | None) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.post(path, json={**body, "model": model})

    assert answer.status_code == 200
    assert answer.headers["x-hearth-rerank"] == "cosine"


async def test_a_reranker_comes_first_and_says_nothing(embedder: ServedModel, reranker: ServedModel) -> None:
    async with in_process_server(embedder, reranker) as here:
        answer = await here.client.post("/v1/rerank", json={"query": "q", "documents": DOCUMENTS})

    assert answer.json()["model"] == "reranker"
    assert "x-hearth-rerank" not in answer.headers
    assert "warnings" not in answer.json()["meta"]


async def test_the_warnings_name_the_method_and_the_cuts(embedder: ServedModel) -> None:
    body = {"query": "q", "documents": ["a" * 2000, "b"], "max_tokens_per_doc": 5}

    async with in_process_server(embedder) as here:
        answer = await here.client.post("/v1/rerank", json=body)

    method, cut = answer.json()["meta"]["warnings"]
    assert "cosine" in method
    assert cut == "documents[0] was cut from 2001 to 6 tokens"
    assert answer.headers["x-hearth-truncated"] == "1"
    # "Query: q" and its terminator, five tokens of the first document, one of the second, and theirs.
    assert answer.json()["usage"]["total_tokens"] == 9 + 6 + 2


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": "q" * 2000}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": ["a"] * 4}, "documents"),
        ({"documents": ["a" * 400, "a" * 400]}, "documents"),
        ({"documents": ["a" * 2000], "truncate": "NONE"}, "documents"),
        ({"documents": ["a" * 2000], "truncation": False}, "documents"),
    ],
)
async def test_its_limits_are_those_of_rerankers(embedder: ServedModel, fields: dict[str, Any], param: str) -> None:
    async with in_process_server(embedder, limits=RequestLimits(documents=3, rerank_tokens=700)) as here:
        answer = await here.client.post("/v1/rerank", json={"query": "q", "documents": ["a"], **fields})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert here.backend.batches == []


async def test_a_task_without_a_place_is_ignored_by_name(embedder_text: Preprocessor) -> None:
    async with in_process_server(served(embedder_text, "embedder")) as here:
        answer = await here.client.post("/v1/rerank", json={"query": "q", "documents": ["a"], "instruction": "Find it"})

    assert answer.headers["x-hearth-ignored-fields"] == "instruction"


async def test_an_embedder_is_no_default_for_token_logits(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.embed("a", return_logits=[1])

    assert answer.status_code == 404
