"""Reading a body: not too much of it, not for too long."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from server.api.body import budget
from server.api.dialects import embeddings, parsing
from server.api.request import BodyReader
from server.config import RequestLimits
from server.errors import BodyTimeout, PayloadTooLarge, TooManyBodies, UnsupportedMedia
from server.processing.work_queue import WorkQueue
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server, until


class _Sender:
    """An ASGI receive() that counts what was read."""

    def __init__(self, *parts: bytes | dict[str, str]) -> None:
        self._parts = list(parts)
        self.sent = 0

    async def __call__(self) -> dict[str, Any]:
        if not self._parts:
            await asyncio.Event().wait()
        part = self._parts.pop(0)
        self.sent += 1
        if isinstance(part, dict):
            return dict(part)
        return {"type": "http.request", "body": part, "more_body": bool(self._parts)}


def _request(sender: _Sender, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, sender)


async def _read(request: Request, limits: RequestLimits) -> bytes:
    reader = BodyReader(limits, 1000, WorkQueue())
    with reader.hold() as held:
        body = await reader.read(request, held)
        return body.content


async def test_a_body_comes_in_parts() -> None:
    assert await _read(_request(_Sender(b"ab", b"", b"c")), RequestLimits(body_bytes=3)) == b"abc"


async def test_71_a_declared_length_over_the_limit_is_refused_unread() -> None:
    sender = _Sender(b"x")

    with pytest.raises(PayloadTooLarge):
        await _read(_request(sender, content_length="4"), RequestLimits(body_bytes=3))

    assert sender.sent == 0


async def test_71_an_undeclared_one_is_read_no_further_than_the_limit() -> None:
    sender = _Sender(b"ab", b"cd", b"ef", b"gh")

    with pytest.raises(PayloadTooLarge):
        await _read(_request(sender), RequestLimits(body_bytes=3))

    assert sender.sent == 2


async def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    with pytest.raises(BodyTimeout):
        await _read(_request(_Sender()), RequestLimits(body_timeout_s=0.01))


async def test_a_client_that_leaves_is_gone() -> None:
    with pytest.raises(ClientDisconnect):
        await _read(_request(_Sender({"type": "http.disconnect"})), RequestLimits())


@pytest.mark.parametrize("media", ["text/html", "application/x-ndjson", "multipart/form-data", "image/png", "json"])
async def test_70_what_is_not_json_is_refused_unread(media: str) -> None:
    sender = _Sender(b"{}")

    with pytest.raises(UnsupportedMedia):
        await _read(_request(sender, content_type=media), RequestLimits())

    assert sender.sent == 0


async def test_70_a_compressed_body_is_decoded() -> None:
    body = gzip.compress(b"abc")

    assert await _read(_request(_Sender(body[:5], body[5:]), content_encoding="gzip"), RequestLimits()) == b"abc"


async def test_70_another_coding_is_refused_unread() -> None:
    sender = _Sender(b"{}")

    with pytest.raises(UnsupportedMedia, match="Content-Encoding 'br' is not supported"):
        await _read(_request(sender, content_encoding="br"), RequestLimits())

    assert sender.sent == 0


@pytest.mark.parametrize("digits", ["0" * 5000 + "3", "3", "", "-1", "x", "\u00b2"])
async def test_a_length_of_any_digits_is_read(digits: str) -> None:
    assert await _read(_request(_Sender(b"abc"), content_length=digits), RequestLimits(body_bytes=3)) == b"abc"


@pytest.mark.parametrize("digits", ["4", "0004", "10", "9" * 5000, "0" * 5000 + "4"])
async def test_71_a_length_over_the_limit_is_refused_however_it_is_written(digits: str) -> None:
    with pytest.raises(PayloadTooLarge):
        await _read(_request(_Sender(b"abc"), content_length=digits), RequestLimits(body_bytes=3))


@pytest.mark.parametrize("seconds", ["9" * 5000, "0" * 5000 + "7", ".", "7.", "x", "-1", "nan", "inf", "1e999"])
async def test_a_request_timeout_of_any_text_is_no_fault(embedder: ServedModel, seconds: str) -> None:
    async with in_process_server(embedder) as here:
        headers = {"x-request-timeout": seconds}
        answer = await here.client.post("/v1/embeddings", json={"input": "a"}, headers=headers)

    assert answer.status_code == 200


async def test_408_has_the_words_of_the_contract(embedder: ServedModel) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'{"input":'
        await asyncio.Event().wait()

    async with in_process_server(embedder, limits=RequestLimits(body_timeout_s=0.05)) as here:
        answer = await here.client.post("/v1/embeddings", content=endless())

    assert answer.status_code == 408
    assert answer.json()["error"]["code"] == "request_timeout"
    assert answer.json()["error"]["message"] == "The request body did not arrive within 0.05 s."


async def test_a_body_over_the_budget_is_refused_unread_while_another_one_is_held() -> None:
    reader, late = BodyReader(RequestLimits(), 200_000, WorkQueue()), _Sender(b"x")
    with reader.hold() as held:
        await reader.read(_request(_Sender(b"x" * 150_000)), held)
        with pytest.raises(TooManyBodies), reader.hold() as refused:
            await reader.read(_request(late, content_length="100000"), refused)
    with reader.hold() as held:
        size = (await reader.read(_request(_Sender(b"x" * 150_000)), held)).size

    assert late.sent == 0
    assert size == 150_000


async def test_what_a_compressed_body_expands_to_counts() -> None:
    reader, packed = BodyReader(RequestLimits(), 200_000, WorkQueue()), gzip.compress(b"x" * 150_000)
    with reader.hold() as held:
        await reader.read(_request(_Sender(packed), content_encoding="gzip"), held)
        with pytest.raises(TooManyBodies), reader.hold() as refused:
            await reader.read(_request(_Sender(packed), content_encoding="gzip"), refused)


async def test_a_stalled_body_is_answered_when_it_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "STALLED_S", 0.0)
    reader = BodyReader(RequestLimits(), 200_000, WorkQueue())
    half = _Sender(b"x" * 150_000, b"")
    stalled = asyncio.create_task(_enter(reader, half))
    await until(lambda: half.sent == 2)

    with reader.hold() as held:
        await reader.read(_request(_Sender(b"x" * 150_000)), held)
        with pytest.raises(TooManyBodies):
            await stalled


async def _enter(reader: BodyReader, sender: _Sender) -> None:
    async def receive() -> dict[str, Any]:
        return {**await sender(), "more_body": True}

    with reader.hold() as held:
        await reader.read(Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive), held)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"[" * 101 + b"]" * 101, "nested more than 100 levels"),
        (b"[" + b"[]," * 250_000 + b"[]]", "more than 250000 arrays"),
        (b"[" + b"0," * 2_100_000 + b"0]", "more than 2100000 values"),
    ],
)
async def test_json_with_too_much_in_it_is_refused(embedder: ServedModel, value: bytes, reason: str) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.post("/v1/embeddings", content=b'{"input":"a","x":' + value + b"}")

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"
    assert reason in answer.json()["error"]["message"]


async def test_long_texts_may_hold_as_many_commas_as_they_like(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.embed(["a", "[,:{" * 100_000], truncate=True)

    assert answer.status_code == 200


@pytest.mark.parametrize("value", [[1], "a", {"text": "a"}])
async def test_inputs_are_counted_before_they_are_converted(
    embedder: ServedModel, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    monkeypatch.setattr(parsing, "read_input", None)
    monkeypatch.setattr(embeddings, "read_input", None)
    async with in_process_server(embedder, limits=RequestLimits(inputs=2)) as here:
        answer = await here.embed([value] * 3)

    assert answer.status_code == 400
    assert "Expected at most 2 items, but got 3" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("size", "is_large"), [(64 * 1024, False), (64 * 1024 + 1, True)])
async def test_the_memory_of_a_large_body_goes_back_even_if_it_never_arrives(
    monkeypatch: pytest.MonkeyPatch, size: int, is_large: bool
) -> None:
    work, trims = WorkQueue(), list[str]()
    monkeypatch.setattr(work, "trim_later", lambda: trims.append("later"))
    reader = BodyReader(RequestLimits(), 1_000_000, work)

    with pytest.raises(ClientDisconnect):
        await _enter(reader, _Sender(b"x" * size, {"type": "http.disconnect"}))

    assert bool(trims) == is_large
