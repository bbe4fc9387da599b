"""Reading a body: not too much of it, not for too long."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from server.api.request import read_body
from server.config import RequestLimits
from server.errors import BodyTimeout, PayloadTooLarge, UnsupportedMedia
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server


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


async def test_a_body_comes_in_parts() -> None:
    assert await read_body(_request(_Sender(b"ab", b"", b"c")), RequestLimits(body_bytes=3)) == b"abc"


async def test_71_a_declared_length_over_the_limit_is_refused_unread() -> None:
    sender = _Sender(b"x")

    with pytest.raises(PayloadTooLarge):
        await read_body(_request(sender, content_length="4"), RequestLimits(body_bytes=3))

    assert sender.sent == 0


async def test_71_an_undeclared_one_is_read_no_further_than_the_limit() -> None:
    sender = _Sender(b"ab", b"cd", b"ef", b"gh")

    with pytest.raises(PayloadTooLarge):
        await read_body(_request(sender), RequestLimits(body_bytes=3))

    assert sender.sent == 2


async def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    with pytest.raises(BodyTimeout):
        await read_body(_request(_Sender()), RequestLimits(body_timeout_s=0.01))


async def test_a_client_that_leaves_is_gone() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(_request(_Sender({"type": "http.disconnect"})), RequestLimits())


@pytest.mark.parametrize("media", ["text/html", "application/x-ndjson", "multipart/form-data", "image/png", "json"])
async def test_70_what_is_not_json_is_refused_unread(media: str) -> None:
    sender = _Sender(b"{}")

    with pytest.raises(UnsupportedMedia):
        await read_body(_request(sender, content_type=media), RequestLimits())

    assert sender.sent == 0


async def test_70_a_compressed_body_is_decoded() -> None:
    body = gzip.compress(b"abc")

    assert await read_body(_request(_Sender(body[:5], body[5:]), content_encoding="gzip"), RequestLimits()) == b"abc"


async def test_70_another_coding_is_refused_unread() -> None:
    sender = _Sender(b"{}")

    with pytest.raises(UnsupportedMedia, match="Content-Encoding 'br' is not supported"):
        await read_body(_request(sender, content_encoding="br"), RequestLimits())

    assert sender.sent == 0


@pytest.mark.parametrize("digits", ["0" * 5000 + "3", "3", "", "-1", "x", "\u00b2"])
async def test_a_length_of_any_digits_is_read(digits: str) -> None:
    assert await read_body(_request(_Sender(b"abc"), content_length=digits), RequestLimits(body_bytes=3)) == b"abc"


@pytest.mark.parametrize("digits", ["4", "0004", "10", "9" * 5000, "0" * 5000 + "4"])
async def test_71_a_length_over_the_limit_is_refused_however_it_is_written(digits: str) -> None:
    with pytest.raises(PayloadTooLarge):
        await read_body(_request(_Sender(b"abc"), content_length=digits), RequestLimits(body_bytes=3))


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
