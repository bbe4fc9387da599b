"""What operators set and see: pages and metrics under keys, keys read anew, CORS, loading."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from models import demo_models
from tests.support.http.requests import embed, openai_error
from tests.support.server.process import ADDRESS, ServerProcess

FAKE = [{"path": path, "backend": "fake"} for path in demo_models()]
KEY = "key-of-the-tests"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Pages behind the key, metrics open, one origin allowed."""
    config = {
        "models": FAKE,
        "auth": {"keys": [KEY], "pages_open": False, "metrics_open": True},
        "cors_origins": ["https://app.example"],
    }
    with ServerProcess(tmp_path_factory.mktemp("closed"), config) as hearth:
        yield hearth


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/assets/swagger-ui.css", "/docs/", "/"])
def test_81_pages_may_be_closed(closed: ServerProcess, path: str) -> None:
    assert closed.client.get(path).status_code == 401


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/assets/swagger-ui.css"])
def test_81_a_key_opens_them(closed: ServerProcess, path: str) -> None:
    assert closed.client.get(path, headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/live", "/ready", "/metrics"])
def test_81_metrics_may_be_opened_and_probes_are_always(closed: ServerProcess, path: str) -> None:
    assert closed.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/metrics/../v1/models", "/docs/assets/../../v1/models", "/docs/assets%2F..%2F..%2Fv1%2Fmodels"]
)
def test_81_no_path_leads_around_the_key(closed: ServerProcess, path: str) -> None:
    assert closed.client.get(httpx.URL(closed.url, raw_path=path.encode())).status_code == 401


def test_81_a_preflight_needs_no_key(closed: ServerProcess) -> None:
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization, content-type"

    answer = closed.client.options("/v1/embeddings", headers=asked)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()


def test_81_the_request_after_it_does(closed: ServerProcess) -> None:
    origin = {"origin": "https://app.example"}

    refused = closed.client.post("/v1/embeddings", json={"input": "a"}, headers=origin)
    served = closed.client.post("/v1/embeddings", json={"input": "a"}, headers=origin | {"x-api-key": KEY})

    assert (refused.status_code, served.status_code) == (401, 200)
    # Without it a browser shows its page no 401, but a network error.
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    assert served.headers["access-control-allow-origin"] == "https://app.example"
    assert {"x-request-id", "metadata", "Retry-After"} <= set(
        served.headers["access-control-expose-headers"].split(", ")
    )


def test_81_a_page_of_another_origin_is_not_let_in(closed: ServerProcess) -> None:
    headers = {"origin": "https://elsewhere.example", "x-api-key": KEY}

    answer = closed.client.post("/v1/embeddings", json={"input": "a"}, headers=headers)

    assert "access-control-allow-origin" not in answer.headers


def test_82_keys_stay_as_they_were_when_their_file_cannot_be_read_again(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n", "utf-8")
    hearth = start({"models": FAKE, "auth": {"keys_file": str(keys)}})

    keys.write_text("# every key was taken out\n", "utf-8")
    hearth.reload()

    assert "contains no keys" in hearth.wait_for("the API keys are unchanged")
    assert embed(hearth.client, "a").status_code == 401
    assert hearth.client.post("/v1/embeddings", json={"input": "a"}, headers={"api-key": KEY}).status_code == 200


def test_76_while_models_load_it_is_alive_and_says_when_to_come_again(tmp_path: Path) -> None:
    hearth = ServerProcess(tmp_path / "server", {"models": [{"path": path} for path in demo_models()]})
    try:
        url = ADDRESS.search(hearth.wait_for("listens on"))[1]
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            early, ready = embed(client, "a"), client.get("/ready")
            alive, healthy = client.get("/live"), client.get("/health")
            hearth.wait_for("ready on")
            hearth.until(lambda: client.get("/ready").status_code == 200)
            served = embed(client, "a")
    finally:
        hearth.stop()

    assert openai_error(early, 503)["code"] == "model_loading"
    assert int(early.headers["retry-after"]) >= 1
    assert (ready.status_code, alive.status_code, healthy.status_code) == (503, 200, 200)
    assert ready.headers["retry-after"]
    assert served.status_code == 200
