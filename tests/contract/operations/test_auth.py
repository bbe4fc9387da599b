"""API keys over a real socket."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models import demo_models
from tests.support.http.requests import fireworks_error, openai_error
from tests.support.server.process import ServerProcess

FIRST, SECOND = "first-key-of-the-tests", "second-key-of-the-tests"
GUARDED = ["/v1/embeddings", "/rerank", "/inference/v1/rerank", "/embed", "/score", "/tokenize", "/info", "/v1/models"]


@pytest.fixture(scope="module")
def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with one key in its configuration and one in a file."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "keys").write_text(f"# for the search team\n\n{SECOND}\n", "utf-8")
    config = {
        "models": [{"path": path, "backend": "fake"} for path in demo_models()],
        "auth": {"keys": [FIRST], "keys_file": "keys"},
    }
    with ServerProcess(folder, config) as hearth:
        yield hearth


@pytest.fixture
def keyed(keyed_server: ServerProcess) -> httpx.Client:
    """Asks the server that wants a key."""
    return keyed_server.client


def _ask(client: httpx.Client, headers: dict[str, str]) -> httpx.Response:
    return client.post("/v1/embeddings", json={"input": "a"}, headers=headers)


@pytest.mark.parametrize("path", [*GUARDED, "/nope", "/metrics", "/v1/models/demo-embedding"])
def test_81_without_a_key_every_route_is_401(keyed: httpx.Client, path: str) -> None:
    answer = keyed.get(path)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["message"].startswith("Missing API key.")
    assert answer.headers["x-request-id"]


def test_81_on_the_openai_door(keyed: httpx.Client) -> None:
    error = openai_error(_ask(keyed, {"authorization": "Bearer wrong"}), 401)

    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert error["message"] == "Incorrect API key provided."


def test_81_on_the_fireworks_door(keyed: httpx.Client) -> None:
    error = fireworks_error(keyed.post("/inference/v1/embeddings", json={"input": "a"}), 401)

    assert error["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize(
    "path", ["/health", "/live", "/ready", "/ping", "/readyz", "/health/", "/openapi.json", "/docs"]
)
def test_81_probes_and_pages_are_open(keyed: httpx.Client, path: str) -> None:
    assert keyed.get(path).status_code == 200


def test_81_no_path_is_open_as_a_whole_url(keyed_server: ServerProcess) -> None:
    with socket.create_connection(keyed_server.address) as client:
        client.sendall(b"GET http://x/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = client.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 401 ")


def test_81_a_folder_of_open_files_is_no_open_path(keyed: httpx.Client) -> None:
    statuses = {keyed.get(path).status_code for path in ("/page", "/page/", "/docs/assets", "/docs/assets/")}

    assert statuses == {401}


def test_81_the_key_is_asked_for_before_the_body_is_read(keyed: httpx.Client) -> None:
    answer = keyed.post("/v1/embeddings", content=b'{"input":', headers={"content-type": "text/html"})

    assert answer.status_code == 401


@pytest.mark.parametrize("key", [FIRST, SECOND])
@pytest.mark.parametrize("name", ["authorization:Bearer ", "authorization:bearer ", "x-api-key:", "api-key:"])
def test_82_each_key_works_in_each_header(keyed: httpx.Client, name: str, key: str) -> None:
    header, _, scheme = name.partition(":")

    assert _ask(keyed, {header: scheme + key}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {FIRST}"},
        {"authorization": FIRST},
        {"x-api-key": FIRST + "x"},
        {"api-key": FIRST[:-1]},
        {"authorization": "Bearer"},
        {"x-api-key": "# for the search team"},
        {"x-api-key": f"{FIRST},{SECOND}"},
    ],
)
def test_82_anything_else_does_not(keyed: httpx.Client, headers: dict[str, str]) -> None:
    assert _ask(keyed, headers).status_code == 401


def test_82_one_right_key_among_wrong_ones_is_enough(keyed: httpx.Client) -> None:
    assert _ask(keyed, {"authorization": "Bearer wrong", "x-api-key": SECOND}).status_code == 200


def test_82_no_key_shows_in_the_log_or_in_an_answer(keyed_server: ServerProcess) -> None:
    headers = {"authorization": "Bearer wrong-but-secret", "x-request-id": "wrong-key"}

    answer = _ask(keyed_server.client, headers)
    keyed_server.wait_for("request_id=wrong-key")

    told: list[Any] = [answer.text, str(answer.headers), keyed_server.text()]
    assert not [text for text in told if "wrong-but-secret" in text or FIRST in text or SECOND in text]


def test_82_a_removed_key_fails_once_the_file_is_read_again(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{FIRST}\n{SECOND}\n", "utf-8")
    models = [{"path": path, "backend": "fake"} for path in demo_models()]
    hearth = start({"models": models, "auth": {"keys_file": str(keys)}})
    before = _ask(hearth.client, {"x-api-key": SECOND})

    keys.write_text(f"{FIRST}\n", "utf-8")
    hearth.reload()
    hearth.until(lambda: _ask(hearth.client, {"x-api-key": SECOND}).status_code == 401)

    assert before.status_code == 200
    assert _ask(hearth.client, {"x-api-key": FIRST}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"input": "a private text"},
        {"input": ["a private text", 5]},
        {"input": "a", "model": "a private text"},
        {"input": "a", "a private text": 1},
        {"input": [{"text": "a private text"}], "prompt_template": "{{ text.foo.bar }}"},
        {"input": [{"text": "a"}], "prompt_template": "a private text {% if"},
        {"input": "a private text " * 9000},
    ],
)
def test_no_text_of_a_client_shows_in_the_log(keyed_server: ServerProcess, body: dict[str, Any]) -> None:
    number = f"private-{len(keyed_server.log)}"
    keyed_server.client.post("/v1/embeddings", json=body, headers={"x-api-key": FIRST, "x-request-id": number})

    keyed_server.wait_for(f"request_id={number}")

    assert "a private text" not in keyed_server.text()
