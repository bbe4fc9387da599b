"""What the head of a request tells before the application runs."""

import json
from typing import Any

import pytest

from server.api.app import dialect_at
from server.api.auth import Keys
from server.api.reception import Reception
from server.errors import TooManyRequests

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
