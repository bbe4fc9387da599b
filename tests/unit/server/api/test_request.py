"""Reading a body: not too much of it, not for too long."""

import asyncio
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


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP"])
async def test_70_compressed_bodies_are_refused(coding: str) -> None:
    with pytest.raises(UnsupportedMedia):
        await read_body(_request(_Sender(b"{}"), content_encoding=coding), RequestLimits())


async def test_408_has_the_words_of_the_contract(embedder: ServedModel) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'{"input":'
        await asyncio.Event().wait()

    async with in_process_server(embedder, limits=RequestLimits(body_timeout_s=0.05)) as here:
        answer = await here.client.post("/v1/embeddings", content=endless())

    assert answer.status_code == 408
    assert answer.json()["error"]["code"] == "request_timeout"
    assert answer.json()["error"]["message"] == "The request body did not arrive within 0.05 s."
