"""Bad requests, unknown routes and the headers of every answer."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support.http.requests import FIREWORKS, FOX, RERANK, V1, embed, fireworks_error, openai_error, rerank
from tests.support.server.process import ServerProcess

MEGABYTE = 1024 * 1024
JSON = {"content-type": "application/json"}
GOOD = b'{"input":"a"}'

BROKEN_BODIES = {
    "cut short": b'{"input":',
    "a list": b"[]",
    "a string": b'"x"',
    "NaN": b'{"input":"a","dimensions":NaN}',
    "Infinity": b'{"input":"a","dimensions":Infinity}',
    "a lone surrogate": b'{"input":"\\ud800"}',
    "a lone surrogate as a name": b'{"input":"a","\\udfff":1}',
    "invalid UTF-8": b'{"input":"\xff\xfe"}',
    "an encoded surrogate": b'{"input":"\xed\xa0\x80"}',
    "empty": b"",
    "trailing text": b'{"input":"a"} x',
    "too deep": b"[" * 100_000,
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
}
BAD_FIELDS = {
    "a wrong type": {"input": {"a": 1}},
    "an empty list": {"input": []},
    "an unknown model": {"input": "a", "model": "nope"},
    "dimensions 0": {"input": "a", "dimensions": 0},
    "dimensions -1": {"input": "a", "dimensions": -1},
    "dimensions over the width": {"input": "a", "dimensions": 257},
    "an overlong text": {"input": "the cat sat on the mat " * 2000},
    "a reranker": {"input": "a", "model": "demo-reranker"},
    "an id outside the vocabulary": {"input": [999999]},
}


def _megabytes(count: int) -> Iterator[bytes]:
    yield b'{"input":"'
    yield from (b"a" * MEGABYTE for _ in range(count))
    yield b'"}'


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES.keys())
@pytest.mark.parametrize("path", [V1, RERANK])
def test_70_a_body_that_is_no_json_object_is_400_at_once(plain: httpx.Client, path: str, body: bytes) -> None:
    answer = plain.post(path, content=body, headers=JSON)

    error = openai_error(answer, 400)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_json")
    assert error["message"].startswith("We could not parse the JSON body of your request: ")
    assert answer.elapsed.total_seconds() < 1
    assert embed(plain, "a").status_code == 200


@pytest.mark.parametrize("fields", BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
def test_70_a_bad_field_is_refused_at_once_and_the_next_request_is_served(
    plain: httpx.Client, fields: dict[str, object]
) -> None:
    answer = plain.post(V1, json=fields)

    assert answer.status_code in (400, 404)
    assert answer.elapsed.total_seconds() < 1
    assert embed(plain, "a").status_code == 200


def test_70_an_embeddings_call_to_a_reranker_is_refused_at_once(plain: httpx.Client) -> None:
    answer = embed(plain, "a", model="demo-reranker")

    assert openai_error(answer, 400)["code"] == "wrong_model_kind"
    assert answer.elapsed.total_seconds() < 1
    assert rerank(plain).status_code == 200


@pytest.mark.parametrize("media", ["application/json", "application/vnd.api+json", "text/plain", "Application/JSON"])
def test_70_json_may_come_under_these_media_types(plain: httpx.Client, media: str) -> None:
    answer = plain.post(V1, content=GOOD, headers={"content-type": media + "; charset=utf-8"})

    assert answer.status_code == 200


def test_70_json_may_come_without_a_media_type(plain: httpx.Client) -> None:
    assert plain.post(V1, content=GOOD).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/octet-stream"},
    ],
)
def test_70_other_media_are_415(plain: httpx.Client, headers: dict[str, str]) -> None:
    error = openai_error(plain.post(V1, content=GOOD, headers=headers), 415)

    assert error["code"] == "unsupported_media_type"
    media = headers["content-type"].split(";")[0]
    assert error["message"] == f"Content-Type '{media}' is not supported; send JSON as application/json."


@pytest.mark.parametrize(("coding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_70_a_body_may_be_compressed(plain: httpx.Client, coding: str, encode: Callable[[bytes], bytes]) -> None:
    answer = plain.post(V1, content=encode(GOOD), headers={**JSON, "content-encoding": coding})

    assert answer.status_code == 200
    assert answer.json()["data"] == embed(plain, "a").json()["data"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_70_a_body_in_another_encoding_is_415_and_the_message_says_so(plain: httpx.Client, coding: str) -> None:
    error = openai_error(plain.post(V1, content=GOOD, headers={**JSON, "content-encoding": coding}), 415)

    assert error["message"].startswith("Content-Encoding")


def test_71_a_compressed_body_is_limited_by_what_it_expands_to(plain_server: ServerProcess) -> None:
    bomb = gzip.compress(b'{"input":"' + b"a" * (40 * MEGABYTE) + b'"}')

    answer = plain_server.client.post(V1, content=bomb, headers={**JSON, "content-encoding": "gzip"})

    assert openai_error(answer, 413)["message"] == "The request body exceeds 33554432 bytes."


def test_71_100_megabytes_with_a_length_are_413_at_once(plain_server: ServerProcess) -> None:
    headers = {**JSON, "content-length": str(100 * MEGABYTE + 12)}

    answer = httpx.post(plain_server.url + V1, content=_megabytes(100), headers=headers, trust_env=False)

    error = openai_error(answer, 413)
    assert (error["code"], error["message"]) == ("payload_too_large", "The request body exceeds 33554432 bytes.")
    assert answer.elapsed.total_seconds() < 1
    assert embed(plain_server.client, "a").status_code == 200


def test_71_100_megabytes_without_a_length_are_413_once_the_limit_is_passed(plain_server: ServerProcess) -> None:
    answer = httpx.post(plain_server.url + V1, content=_megabytes(100), headers=JSON, trust_env=False)

    assert openai_error(answer, 413)["code"] == "payload_too_large"
    assert answer.elapsed.total_seconds() < 1
    assert embed(plain_server.client, "a").status_code == 200


def test_71_the_fireworks_door_has_its_own_words(odd_server: ServerProcess) -> None:
    answer = httpx.post(odd_server.url + FIREWORKS, content=b"a" * 100_001, headers=JSON, trust_env=False)

    assert fireworks_error(answer, 413)["code"] == "PAYLOAD_TOO_LARGE"


def test_71_a_body_of_just_the_limit_is_read(odd: httpx.Client) -> None:
    body = b'{"input":"a","user":"' + b"x" * (100_000 - 23) + b'"}'

    assert len(body) == 100_000
    assert odd.post(V1, content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", V1, "POST"),
        ("PUT", V1, "POST"),
        ("DELETE", RERANK, "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("GET", "/v1/embeddings/", "POST"),
    ],
)
def test_72_a_wrong_method_is_405_and_the_right_one_is_named(
    plain: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = plain.request(method, path)

    error = openai_error(answer, 405)
    assert answer.headers["allow"] == allowed
    assert error["code"] == "method_not_allowed"
    assert error["message"] == f"Not allowed to {method} on {path.rstrip('/')}. Use {allowed.replace(', ', ' or ')}."


@pytest.mark.parametrize("path", ["/v1/foo", "/v1", "/v2/foo"])
def test_72_an_unknown_path_is_404(plain: httpx.Client, path: str) -> None:
    error = openai_error(plain.post(path, json={"inputs": "a"}), 404)

    assert error["code"] == "unknown_url"
    assert error["message"].startswith(f"Unknown request URL: POST {path}. Base URLs end in /v1 ")


@pytest.mark.parametrize("path", ["/inference/v1/foo", "/inference/v2/embeddings", "/inference/v1"])
def test_72_on_the_fireworks_door_too(plain: httpx.Client, path: str) -> None:
    assert fireworks_error(plain.post(path, json={}), 404)["code"] == "NOT_FOUND"


def test_72_a_wrong_method_on_the_fireworks_door(plain: httpx.Client) -> None:
    assert fireworks_error(plain.get(FIREWORKS), 405)["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("fields", BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
def test_73_fireworks_errors_have_nothing_beside_error(plain: httpx.Client, fields: dict[str, object]) -> None:
    answer = plain.post(FIREWORKS, json=fields)

    error = fireworks_error(answer, answer.status_code)
    assert error["code"] in (None, "NOT_FOUND")


@pytest.mark.parametrize("wanted", ["abc-1", "A.b_c:9", "x" * 128])
def test_79_a_clients_request_id_is_kept(plain: httpx.Client, wanted: str) -> None:
    answer = plain.get("/v1/models", headers={"x-request-id": wanted})

    assert answer.headers["x-request-id"] == wanted


@pytest.mark.parametrize("headers", [{}, {"x-request-id": "x" * 200}, {"x-request-id": "a b"}, {"x-request-id": "é"}])
def test_79_any_other_is_replaced(plain: httpx.Client, headers: dict[str, str]) -> None:
    answer = plain.get("/v1/models", headers=[(name, value.encode()) for name, value in headers.items()])

    assert re.fullmatch(r"req_[0-9a-f]{16}", answer.headers["x-request-id"])


@pytest.mark.parametrize("path", ["/health", "/live", "/ready", "/metrics", "/nope", "/v1/models/nope", V1])
def test_79_every_answer_has_a_request_id(plain: httpx.Client, path: str) -> None:
    assert plain.get(path, headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"


@pytest.mark.parametrize("path", ["/health", "/metrics", "/nope", "/v1/models", V1, FIREWORKS])
def test_80_every_answer_says_how_long_it_took(plain: httpx.Client, path: str) -> None:
    answer = plain.get(path)

    assert answer.headers["openai-processing-ms"].isdecimal()
    assert re.fullmatch(r"total;dur=\d+\.\d", answer.headers["server-timing"])


def test_80_stages_that_ran_are_timed(plain: httpx.Client) -> None:
    timing = embed(plain, FOX).headers["server-timing"]

    stages = dict(re.findall(r"(\w+);dur=(\d+\.\d)", timing))
    assert list(stages) == ["tokenize", "queue", "forward", "write", "total"]
    assert timing == ", ".join(f"{name};dur={ms}" for name, ms in stages.items())


@pytest.mark.parametrize("path", [V1, RERANK, "/v1/models", "/health"])
def test_80_fireworks_headers_stay_on_its_door(plain: httpx.Client, path: str) -> None:
    answer = plain.post(path, json={"input": "a", "query": "a", "documents": ["a"]})

    assert not [name for name in answer.headers if name.startswith("fireworks-")]


def test_74_no_server_of_frameworks_is_named(plain: httpx.Client) -> None:
    assert "server" not in plain.get("/v1/models").headers


def test_request_ids_and_tokens_are_in_the_log(plain_server: ServerProcess) -> None:
    embed(plain_server.client, FOX)
    plain_server.client.post(V1, json={"input": FOX}, headers={"x-request-id": "seen-in-log"})

    line = plain_server.wait_for("request_id=seen-in-log")
    assert "POST /v1/embeddings 200" in line
    assert "tokens=10" in line
