"""A new dialect is one class, and its line in a list of server/api/app.py."""

import json
from typing import Any

import pytest

from server.api import openapi
from server.api.dialects.protocol import ParsedEmbedding, ParsedRerank, Reply
from server.errors import ApiError, InvalidValue
from server.observability.trace import Trace
from server.processing.requests import (
    EmbeddingRequest,
    EmbeddingResult,
    RerankRequest,
    RerankResult,
    Texts,
    Truncation,
)
from server.registry import ServedModel
from server.serialization import dump
from tests.support.server.in_process import in_process_server

_ERROR = openapi.closed_object(problem=openapi.STRING)


class TinyDialect:
    """One text in, one list of numbers out."""

    embeddings_paths: tuple[str, ...] = ("/tiny/embed",)
    rerank_paths: tuple[str, ...] = ("/tiny/rerank",)
    error_shape = openapi.ErrorShape("Tiny", _ERROR, _ERROR)

    def document_embeddings(self) -> dict[str, Any]:
        body = openapi.closed_object(text=openapi.STRING)
        return openapi.operation("One vector", "Other APIs", self.error_shape, openapi.array(openapi.NUMBER), body=body)

    def parse_embeddings(self, body: dict[str, Any]) -> ParsedEmbedding:
        if not isinstance(body.get("text"), str):
            raise InvalidValue("text", "expected a string.")
        request = EmbeddingRequest(
            model=None,
            input=Texts((body["text"],), is_list=False, field="text"),
            dimensions=None,
            normalize=True,
            return_logits=None,
            prompt_name=None,
            prompt_template=None,
            cut=Truncation(),
            encoding_format="float",
        )
        return ParsedEmbedding(request, [])

    def write_embeddings(self, parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        return Reply(dump(result.rows[0]))

    def document_rerank(self) -> dict[str, Any]:
        body = openapi.closed_object(question=openapi.STRING, answers=openapi.TEXT_LIST)
        return openapi.operation("Scores", "Other APIs", self.error_shape, openapi.array(openapi.NUMBER), body=body)

    def parse_rerank(self, body: dict[str, Any]) -> ParsedRerank:
        request = RerankRequest(
            model=None,
            queries=(body["question"],),
            documents=tuple(body["answers"]),
            top_n=None,
            task=None,
            raw_scores=False,
            max_tokens_per_doc=None,
            truncate_prompt_tokens=None,
        )
        return ParsedRerank(request, [], body["answers"], return_documents=False)

    def write_rerank(self, parsed: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        return Reply(dump(result.scores))

    def write_error(self, error: ApiError) -> bytes:
        return json.dumps({"problem": error.message}).encode()


async def test_one_line_adds_its_embeddings(embedder: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.app.EMBEDDING_DIALECTS", (TinyDialect(),))

    async with in_process_server(embedder) as here:
        vector = await here.client.post("/tiny/embed", json={"text": "a"})
        error = await here.client.post("/tiny/embed", json={"text": 1})
        openai = await here.embed("a")

    assert vector.json() == openai.json()["data"][0]["embedding"]
    assert (error.status_code, error.json()) == (400, {"problem": "Invalid 'text': expected a string."})


async def test_one_line_adds_its_scores(reranker: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.app.RERANK_DIALECTS", (TinyDialect(),))

    async with in_process_server(reranker) as here:
        scores = await here.client.post("/tiny/rerank", json={"question": "q", "answers": ["a", "b"]})

    assert scores.status_code == 200
    assert len(scores.json()) == 2


async def test_the_document_describes_its_errors_too(embedder: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.app.EMBEDDING_DIALECTS", (TinyDialect(),))

    async with in_process_server(embedder) as here:
        document = (await here.client.get("/openapi.json")).json()

    reference = document["paths"]["/tiny/embed"]["post"]["responses"]["400"]["$ref"]
    response = document["components"]["responses"][reference.rpartition("/")[2]]
    assert response["content"]["application/json"]["schema"] == _ERROR
