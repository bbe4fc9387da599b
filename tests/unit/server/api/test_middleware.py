"""The outermost layer: ids, timings, and every exception in the format of its dialect."""

import json
import logging
import re

import pytest

from server.observability.logs import JsonFormatter
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/inference/v1/embeddings"])
async def test_an_unexpected_exception_is_500_with_the_request_id(
    embedder: ServedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("not for clients")

    monkeypatch.setattr("server.api.routes.embed", broken)
    async with in_process_server(embedder) as here:
        answer = await here.client.post(path, json={"input": "a"}, headers={"x-request-id": "abc-1"})

    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "Internal error. Request id abc-1."
    assert answer.headers["x-request-id"] == "abc-1"
    assert not isinstance(answer.json().get("detail"), list)
    assert "not for clients" in caplog.text
    assert "not for clients" not in answer.text


async def test_79_every_answer_has_the_headers_of_the_contract(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        paths = ("/v1/models", "/nope", "/v1/embeddings", "/health", "/metrics")
        answers = [await here.client.get(path) for path in paths]

    assert [answer.status_code for answer in answers] == [200, 404, 405, 200, 200]
    assert all(re.fullmatch(r"req_[0-9a-f]{16}", answer.headers["x-request-id"]) for answer in answers)
    assert all(answer.headers["openai-processing-ms"].isdecimal() for answer in answers)
    assert all(answer.headers["server-timing"].startswith("total;dur=") for answer in answers)


async def test_two_requests_have_two_ids(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        first, second = [await here.client.get("/health") for _ in range(2)]

    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_each_request_is_one_line_in_the_log(embedder: ServedModel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hearth.access")
    async with in_process_server(embedder) as here:
        await here.embed(["a", "b"])
        await here.client.get("/nope", headers={"x-request-id": "abc-1", "traceparent": TRACEPARENT})

    first, second = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert first["message"] == "POST /v1/embeddings 200"
    assert (first["model"], first["inputs"], first["tokens"]) == ("embedder", 2, 4)
    assert (second["message"], second["request_id"]) == ("GET /nope 404", "abc-1")
    assert ("trace_id" in first, second["trace_id"]) == (False, "4bf92f3577b34da6a3ce929d0e0e4736")


async def test_probes_that_are_well_are_not_logged(embedder: ServedModel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hearth.access")
    async with in_process_server(embedder) as here:
        await here.client.get("/health")
        await here.client.get("/metrics")

    assert not caplog.records


@pytest.mark.parametrize(
    ("path", "keys"), [("/v1/nope", ["error", "message", "detail"]), ("/inference/nope", ["error"]), ("/x", None)]
)
async def test_72_the_prefix_of_an_unknown_path_decides_its_dialect(
    embedder: ServedModel, path: str, keys: list[str] | None
) -> None:
    async with in_process_server(embedder) as here:
        body = (await here.client.get(path)).json()

    assert list(body) == (keys or ["error", "message", "detail"])


@pytest.mark.parametrize("path", ["/v1/embeddings/", "/v1/rerank//", "/inference/v1/rerank/", "/health/"])
async def test_a_trailing_slash_is_the_same_route(embedder: ServedModel, path: str) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.request("OPTIONS", path)

    assert answer.status_code == 405
