"""What the head of a request tells before the application runs."""

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from server.api.app import dialect_at
from server.api.auth import Keys
from server.api.reception import Queues, Reception
from server.config import Config
from server.engine.messages import EngineState
from server.errors import ApiError, Draining, QueueFull, TooManyRequests
from server.observability.metrics import Metrics

RECEPTION = Reception(Keys([]), "/prefix", dialect_at)


def _scope(path: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": raw, "client": ("10.0.0.1", 50000)}


@pytest.mark.parametrize("path", ["/live", "/ready/", "/prefix/health", "/metrics"])
def test_probes_are_known_by_their_paths(path: str) -> None:
    assert RECEPTION.is_probe(_scope(path))
    assert RECEPTION.is_probe(_scope(path, "HEAD"))
    assert not RECEPTION.is_probe(_scope(path, "POST"))


@pytest.mark.parametrize("path", ["/", "/v1/models", "/livelier", "/other/live"])
def test_nothing_else_is_a_probe(path: str) -> None:
    assert not RECEPTION.is_probe(_scope(path))


def test_a_caller_is_its_address_and_key() -> None:
    assert RECEPTION.caller(_scope("/")) == "10.0.0.1"
    assert RECEPTION.caller(_scope("/", x_api_key="a")) != RECEPTION.caller(_scope("/", x_api_key="b"))


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/v1/embeddings", {"error"}),
        ("/unknown", {"error"}),
        ("/inference/v1/rerank", {"error"}),
        ("/embed", {"error", "error_type"}),
        ("/prefix/embed/", {"error", "error_type"}),
        ("/", {"error", "error_type"}),
        ("/v2/embed", {"message", "error"}),
    ],
)
def test_a_refusal_is_written_in_the_dialect_of_its_path(path: str, keys: set[str]) -> None:
    headers, body = RECEPTION.refuse(TooManyRequests(2048), _scope(path, "POST"))

    assert keys <= json.loads(body).keys()
    assert dict(headers)[b"content-length"] == str(len(body)).encode()


def _reception(refusal: ApiError, metrics: Metrics | None = None, *keys: str) -> Reception:
    """One before an engine that refuses everything for this reason."""

    def check_open(**_: Any) -> None:
        raise refusal

    engine: Any = SimpleNamespace(check_open=check_open)
    queues = Queues(engine, Config(), metrics or Metrics(), frozenset({"/v1/embeddings"}))
    return Reception(Keys(keys), "/prefix", dialect_at, queues)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/prefix/v1/embeddings/"])
def test_a_request_that_no_queue_has_room_for_does_not_start(path: str) -> None:
    refusal = QueueFull(100, 3)

    assert _reception(refusal).full(_scope(path, "POST"), "a") is refusal
    assert _reception(refusal, None, "k").full(_scope(path, "POST", x_api_key="k"), "a") is refusal


@pytest.mark.parametrize(
    ("refusal", "keys", "scope"),
    [
        (QueueFull(100, 3), ["k"], _scope("/v1/embeddings", "POST", x_api_key="wrong")),
        (QueueFull(100, 3), [], _scope("/v1/embeddings", "GET")),
        (QueueFull(100, 3), [], _scope("/tokenize", "POST")),
        (QueueFull(100, 3), [], _scope("/v1/embeddings", "POST", origin="https://a.example")),
        (Draining(), [], _scope("/v1/embeddings", "POST")),
    ],
    ids=["wrong key", "wrong method", "no model needed", "from a browser", "draining"],
)
def test_what_else_is_wrong_is_left_to_the_application(
    refusal: ApiError, keys: list[str], scope: dict[str, Any]
) -> None:
    assert _reception(refusal, None, *keys).full(scope, "a") is None


def test_a_full_queue_is_counted_and_logged_as_the_application_does(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    scope = _scope("/prefix/v1/embeddings", "POST", x_request_id="mine")

    with caplog.at_level(logging.INFO, "hearth.access"):
        _reception(QueueFull(100, 3), metrics).refuse(QueueFull(100, 3), scope)

    text = metrics.text(EngineState("ready")).decode()
    assert 'hearth_refusals_total{reason="rate_limit_exceeded"} 1' in text
    assert 'hearth_requests_total{route="/v1/embeddings",status="429"} 1' in text
    assert "hearth_requests_in_flight 0" in text
    [record] = caplog.records
    assert (record.getMessage(), vars(record)["request_id"]) == ("POST /prefix/v1/embeddings 429", "mine")
