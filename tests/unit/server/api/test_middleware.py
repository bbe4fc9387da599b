"""The outermost layer: ids, timings, and every exception in the format of its dialect."""

import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

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


async def test_a_request_without_a_path_is_answered(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        sent: list[dict[str, Any]] = []
        await here.app(_scope("OPTIONS", "*"), _no_body, _collect(sent))

    assert sent[0]["status"] == 404
    assert json.loads(sent[1]["body"])["error"]["code"] == "unknown_url"


@pytest.mark.parametrize(
    "path", ["/health", "/live", "/ready", "/metrics", "/v1/models", "/info", "/docs", "/", "/v1/x"]
)
async def test_head_is_answered_as_get_without_the_body(embedder: ServedModel, path: str) -> None:
    async with in_process_server(embedder) as here:
        get, head = await here.client.get(path), await here.client.head(path)

    timing = {"x-request-id", "openai-processing-ms", "server-timing", "content-length"}
    assert head.status_code == get.status_code
    assert head.content == b""
    assert list(head.headers) == list(get.headers)
    assert [head.headers[name] for name in head.headers if name not in timing] == [
        get.headers[name] for name in get.headers if name not in timing
    ]


async def test_72_a_wrong_method_names_every_right_one(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        answers = [await here.client.request("PUT", path) for path in ("/v1/models", "/v1/embeddings")]
        head = await here.client.head("/v1/embeddings")

    assert [answer.headers["allow"] for answer in answers] == ["GET, HEAD", "POST"]
    assert answers[0].json()["message"] == "Not allowed to PUT on /v1/models. Use GET or HEAD."
    assert (head.status_code, head.content) == (405, b"")


async def test_72_an_unknown_path_is_answered_with_the_nearest_one(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.post("/v1/embedding", json={})

    assert answer.status_code == 404
    assert answer.json()["message"].startswith(
        "Unknown request URL: POST /v1/embedding. Did you mean /v1/embeddings? Base URLs end in /v1 "
    )


async def test_the_log_has_the_path_as_it_was_sent(embedder: ServedModel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hearth.access")
    async with in_process_server(embedder) as here:
        await here.embed("a", "/v1/v1/embeddings")
        await here.client.head("/v1/models")

    assert [record.getMessage() for record in caplog.records] == ["POST /v1/v1/embeddings 200", "HEAD /v1/models 200"]


@pytest.mark.parametrize("path", ["/search/v1/embeddings", "/v1/embeddings", "/search//v1/embeddings/"])
async def test_the_root_path_may_stay_in_a_path(embedder: ServedModel, path: str) -> None:
    async with in_process_server(embedder, root_path="/search") as here:
        assert (await here.embed("a", path)).status_code == 200


async def test_the_root_path_is_no_beginning_of_another_word(embedder: ServedModel) -> None:
    async with in_process_server(embedder, root_path="/search") as here:
        assert (await here.embed("a", "/searchv1/embeddings")).status_code == 404


async def test_a_page_of_a_public_site_may_call_a_private_address(embedder: ServedModel) -> None:
    preflight = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-private-network": "true",
    }
    async with in_process_server(embedder, cors_origins=("https://app.example",)) as here:
        answer = await here.client.options("/v1/embeddings", headers=preflight)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-private-network"] == "true"


def _scope(method: str, path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "query_string": b"",
    }


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _collect(sent: list[dict[str, Any]]) -> Callable[[Any], Awaitable[None]]:
    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    return send
