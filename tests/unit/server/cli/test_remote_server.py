"""A client of other servers finds the API format that they understand, and names what it cannot read."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from server.cli import remote_server
from server.cli.remote_server import RemoteServer, RemoteServerError

Answer = tuple[int, Any]
Ask = Callable[..., RemoteServer]


class Stub:
    """A server whose routes are functions from a body to an answer."""

    def __init__(self) -> None:
        self.routes: dict[str, Callable[[Any], Answer]] = {}
        self.requests: list[tuple[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.sends = {"Retry-After": "0"}
        self.url = ""


@pytest.fixture
def stub() -> Iterator[Stub]:
    """One that listens."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.requests.append((self.path, body))
            stub.headers = dict(self.headers)
            status, answer = stub.routes.get(self.path, lambda _: (404, {"error": "no such route"}))(body)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in stub.sends.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield stub
        server.shutdown()


def of_openai(body: Any) -> Answer:
    data = [{"index": number, "embedding": [float(len(text)), 0.5]} for number, text in enumerate(body["input"])]
    return 200, {"data": data[::-1]}


def of_tei(body: Any) -> Answer:
    return 200, [[float(len(text)), 0.5] for text in body["inputs"]]


def of_cohere(body: Any) -> Answer:
    return 200, {"embeddings": {"float": [[float(len(text)), 0.5] for text in body["texts"]]}}


def lengths(rows: Any) -> list[float]:
    return [float(row[0]) for row in rows]


@pytest.mark.parametrize(
    ("route", "answer", "below", "dialect"),
    [
        ("/v1/embeddings", of_openai, "/v1", "OpenAI"),
        ("/v1/embeddings", of_openai, "/v1/", "OpenAI"),
        ("/v1/embeddings", of_openai, "", "OpenAI"),
        ("/v1/embeddings", of_openai, "/v1/embeddings", "OpenAI"),
        ("/embeddings", of_openai, "", "OpenAI"),
        ("/inference/v1/embeddings", of_openai, "/inference", "OpenAI"),
        ("/embed", of_tei, "", "TEI"),
        ("/embed", of_tei, "/embed", "TEI"),
        ("/v2/embed", of_cohere, "", "Cohere"),
        ("/v2/embed", of_cohere, "/v2", "Cohere"),
    ],
)
def test_the_api_format_is_detected(stub: Stub, route: str, answer: Any, below: str, dialect: str) -> None:
    stub.routes[route] = answer
    remote = RemoteServer(stub.url + below, "m")

    assert lengths(remote.vectors(["a", "bb", "ccc"])) == [1, 2, 3]
    assert remote.dialect == dialect


def test_once_known_it_is_used_at_once(stub: Stub) -> None:
    stub.routes["/embed"] = of_tei
    remote = RemoteServer(stub.url, "m")
    remote.vectors(["a"])
    stub.requests.clear()

    assert lengths(remote.vectors(["a" * number for number in range(1, 20)])) == list(range(1, 20))
    assert [len(body["inputs"]) for _, body in stub.requests] == [8, 8, 3]


def test_the_model_and_the_key_are_sent(stub: Stub) -> None:
    stub.routes["/v1/embeddings"] = of_openai

    RemoteServer(stub.url, "text-embedding-3-small", "secret").vectors(["a"])

    assert stub.requests[0][1]["model"] == "text-embedding-3-small"
    assert stub.headers["Authorization"] == "Bearer secret"


def test_a_text_that_is_refused_is_left_out_and_named(stub: Stub) -> None:
    stub.routes["/v1/embeddings"] = lambda body: (400, {"e": 1}) if "." in body["input"] else of_openai(body)
    remote = RemoteServer(stub.url, "m")

    rows = remote.vectors(["a", ".", "ccc"])

    assert [None if row is None else row[0] for row in rows] == [1, None, 3]
    assert remote.rejected == ["."]


def test_a_busy_server_is_asked_again(stub: Stub) -> None:
    stub.routes["/v1/embeddings"] = lambda body: of_openai(body) if len(stub.requests) > 2 else (429, {})

    assert lengths(RemoteServer(stub.url, "m").vectors(["a"])) == [1]


def test_a_server_that_stays_busy_is_left_alone(stub: Stub) -> None:
    stub.routes["/v1/embeddings"] = lambda body: (503, {})

    with pytest.raises(RemoteServerError, match="was busy 4 times in a row"):
        RemoteServer(stub.url, "m").vectors(["a"])


def of_lists(body: Any) -> Answer:
    results = [{"index": number, "relevance_score": 1 / (1 + number)} for number, _ in enumerate(body["documents"])]
    return 200, {"results": results[::-1]}


@pytest.mark.parametrize(
    ("answer", "dialect"),
    [
        (of_lists, "Cohere, Jina or Fireworks"),
        (lambda body: (200, {"data": of_lists(body)[1]["results"]}), "Cohere, Jina or Fireworks"),
        (
            lambda body: (
                (200, [{"index": 1, "score": 0.5}, {"index": 0, "score": 1.0}]) if "texts" in body else (422, {})
            ),
            "TEI",
        ),
    ],
)
def test_scores_come_in_the_order_of_the_documents(stub: Stub, answer: Any, dialect: str) -> None:
    stub.routes["/rerank"] = answer
    remote = RemoteServer(stub.url, "m")

    assert remote.scores("q", ["a", "b"]).tolist() == [1, 0.5]
    assert remote.dialect == dialect


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {}), r"/v1/embeddings denied access with status 401; give its API key with --key"),
        ((200, b"<html>"), "failed: Expecting value"),
        ((200, {"data": []}), "returned 0 results for 1 inputs"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(stub: Stub, answer: Answer, message: str) -> None:
    stub.routes["/v1/embeddings"] = lambda _: answer

    with pytest.raises(RemoteServerError, match=message):
        RemoteServer(stub.url, "m").vectors(["a"])


def test_a_server_that_knows_no_dialect_says_what_was_tried(stub: Stub) -> None:
    stub.routes["/v1/embeddings"] = lambda _: (200, {"what": "else"})

    with pytest.raises(RemoteServerError, match="accepted no known request format") as caught:
        RemoteServer(stub.url, "m").vectors(["a"])
    assert "/v1/embeddings: the response is not in OpenAI's format" in str(caught.value)
    assert "/embed: status 404" in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host", "host:8000", "file:///etc/passwd"])
def test_only_http_is_asked(url: str) -> None:
    with pytest.raises(RemoteServerError, match="must begin with http"):
        RemoteServer(url, "m")


def test_nobody_there_is_one_sentence() -> None:
    with pytest.raises(RemoteServerError, match=r"failed: .*refused"):
        RemoteServer("http://127.0.0.1:9", "m").vectors(["a"])


def test_a_key_is_taken_to_no_other_host(stub: Stub) -> None:
    stub.routes["/v1/embeddings"] = lambda _: (302, {})
    stub.routes["/elsewhere"] = of_openai
    stub.sends = {"Location": "/elsewhere"}

    with pytest.raises(RemoteServerError, match=r"redirects to /elsewhere.*pass that URL instead"):
        RemoteServer(stub.url, "m", "secret").vectors(["a"])
    assert [path for path, _ in stub.requests] == ["/v1/embeddings"]


@pytest.mark.parametrize("key", ["secret\nX-Other: 1", "secret\x00", "s\u20accret"])
def test_a_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    with pytest.raises(RemoteServerError) as caught:
        RemoteServer("http://127.0.0.1:9", "m", key)

    assert str(caught.value) == "the API key for the other server has a character that no HTTP header can hold"


def test_a_line_end_behind_a_key_is_no_part_of_it(stub: Stub) -> None:
    stub.routes["/v1/embeddings"] = of_openai

    RemoteServer(stub.url, "m", "secret\n").vectors(["a"])

    assert stub.headers["Authorization"] == "Bearer secret"


def _vectors(*rows: Any) -> bytes:
    return json.dumps({"data": [{"index": number, "embedding": row} for number, row in enumerate(rows)]}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "failed"),
        (_vectors("AAAA"), "not in OpenAI's format"),
        (_vectors([]), "not in OpenAI's format"),
        (_vectors([[1.0]]), "not in OpenAI's format"),
        (_vectors(1.0), "not in OpenAI's format"),
        (_vectors([float("nan")]), "returned NaN, Inf"),
        (_vectors([10**400]), "not in OpenAI's format"),
        (_vectors([1e300]), "returned NaN, Inf"),
        (b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}', "not in OpenAI's format"),
        (b'{"data": []}' + b" " * 2000, "more than 1000 bytes"),
    ],
)
def test_an_answer_that_is_meant_to_break_us_is_one_sentence(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.setattr(
        remote_server, "MAX_RESPONSE_BYTES", 1000 if b" " * 2000 in content else remote_server.MAX_RESPONSE_BYTES
    )
    stub.routes["/v1/embeddings"] = lambda _: (200, content)

    with pytest.raises(RemoteServerError, match=message):
        RemoteServer(stub.url + "/v1", "m").vectors(["a"])


def test_vectors_of_several_lengths_are_one_sentence(stub: Stub) -> None:
    stub.routes["/embed"] = lambda body: (200, [[1.0] * (1 + len(stub.requests) // 3)] * len(body["inputs"]))

    with pytest.raises(RemoteServerError, match="returned vectors of different lengths: "):
        RemoteServer(stub.url + "/embed", "m").vectors(["a"] * 40)


@pytest.mark.parametrize("header", ["\u00b2", "soon", "-1", "", "9" * 400])
def test_any_word_on_when_to_come_again_is_taken(stub: Stub, monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    waits: list[float] = []
    monkeypatch.setattr(remote_server.time, "sleep", waits.append)
    stub.sends = {"Retry-After": header}
    stub.routes["/v1/embeddings"] = lambda _: (503, {})

    with pytest.raises(RemoteServerError, match="was busy"):
        RemoteServer(stub.url, "m").vectors(["a"])
    assert 0 < max(waits) <= 60


def test_what_it_says_steers_no_terminal(stub: Stub) -> None:
    stub.routes["/v1/embeddings"] = lambda _: (400, b"\x1b[2Jgone")

    with pytest.raises(RemoteServerError, match=r"400 \?\[2Jgone"):
        RemoteServer(stub.url + "/v1", "m").vectors(["a"])


def test_what_is_no_http_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_noise, args=(server,), daemon=True).start()

        with pytest.raises(RemoteServerError, match="failed: noise"):
            RemoteServer(f"http://127.0.0.1:{server.getsockname()[1]}", "m").vectors(["a"])


def _answer_noise(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"noise\r\n\r\n")
