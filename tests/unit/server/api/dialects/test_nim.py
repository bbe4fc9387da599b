"""NVIDIA NIM's /v1/ranking."""

from typing import Any

import pytest

from server.registry import ServedModel
from tests.support.server.in_process import in_process_server

BODY: dict[str, Any] = {"query": {"text": "q"}, "passages": [{"text": "a"}, {"text": "b"}, {"text": "c"}]}


@pytest.mark.parametrize("path", ["/v1/ranking", "/ranking", "/v1/v1/ranking", "/v1/ranking/ranking"])
async def test_passages_are_ranked_by_their_logits(reranker: ServedModel, path: str) -> None:
    async with in_process_server(reranker) as here:
        rankings = (await here.client.post(path, json=BODY)).json()["rankings"]
        body = {"query": "q", "documents": ["a", "b", "c"], "raw_scores": True}
        expected = (await here.client.post("/v1/rerank", json=body)).json()["results"]

    assert [(row["index"], row["logit"]) for row in rankings] == [
        (row["index"], row["relevance_score"]) for row in expected
    ]


async def test_tokens_are_counted(reranker: ServedModel) -> None:
    async with in_process_server(reranker) as here:
        usage = (await here.client.post("/v1/ranking", json=BODY)).json()["usage"]

    assert usage["prompt_tokens"] == usage["total_tokens"] > 0


@pytest.mark.parametrize(("truncate", "status"), [("END", 200), ("start", 200), (None, 200), ("NONE", 400)])
async def test_a_passage_that_is_too_long_is_cut_unless_truncate_is_none(
    reranker: ServedModel, truncate: str | None, status: int
) -> None:
    async with in_process_server(reranker) as here:
        answer = await here.client.post(
            "/v1/ranking", json={**BODY, "passages": [{"text": "a" * 2000}], "truncate": truncate}
        )

    assert answer.status_code == status
    assert "x-hearth-ignored-fields" not in answer.headers


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": "q"}, "query"),
        ({"query": None}, "query"),
        ({"query": {"text": 1}}, "query"),
        ({"passages": []}, "passages"),
        ({"passages": ["a"]}, "passages"),
        ({"passages": [{"text": "a"}, {"image": "b"}]}, "passages"),
        ({"truncate": "MIDDLE"}, "truncate"),
        ({"model": "nope"}, "model"),
    ],
)
async def test_a_bad_field_is_named(reranker: ServedModel, fields: dict[str, Any], param: str) -> None:
    async with in_process_server(reranker) as here:
        answer = await here.client.post("/v1/ranking", json=BODY | fields)

    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("fields", "status"), [({"raw_scores": True}, 200), ({"raw_scores": False}, 400), ({"activation": True}, 400)]
)
async def test_scores_are_logits_and_nothing_else(reranker: ServedModel, fields: dict[str, Any], status: int) -> None:
    async with in_process_server(reranker) as here:
        answer = await here.client.post("/v1/ranking", json=BODY | fields)

    assert answer.status_code == status, answer.text
    assert status == 200 or next(iter(fields)) in answer.json()["message"]
