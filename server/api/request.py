"""Reading a request body: no more bytes than allowed, no longer than allowed, JSON by its media type."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import to_thread
from fastapi import Request

from server.api.dialects.parsing import JsonObject, read_object
from server.config import Config, RequestLimits
from server.errors import BodyTimeout, PayloadTooLarge, UnsupportedMedia
from server.observability.trace import trace_of
from server.processing.context import RequestContext

# Above this a body is parsed in a thread: 2,048 x 300 token ids take 35-85 ms.
PARSE_IN_THREAD_BYTES = 256 * 1024


T = TypeVar("T")


async def parsed(body: bytes, read: Callable[[JsonObject], T]) -> T:
    """What `read` makes of a body; off the loop when it is large.

    Raises: ApiError.
    """
    if len(body) <= PARSE_IN_THREAD_BYTES:
        return read(read_object(body))
    return await to_thread.run_sync(lambda: read(read_object(body)))


def _caller(request: Request, config: Config, body_bytes: int) -> RequestContext:
    asked = request.headers.get("x-request-timeout", "")
    seconds = float(asked) if asked.replace(".", "", 1).isdecimal() else config.request_timeout_s
    return RequestContext(trace_of(request.scope), request.receive, min(seconds, config.request_timeout_s), body_bytes)


async def read_body(request: Request, limits: RequestLimits) -> bytes:
    """The whole body.

    Raises: PayloadTooLarge, BodyTimeout, UnsupportedMedia. starlette's ClientDisconnect: the client left.
    """
    _check_media(request)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.body_bytes:
        raise PayloadTooLarge(limits.body_bytes)
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            return await _read(request, limits.body_bytes)
    except TimeoutError:
        raise BodyTimeout(limits.body_timeout_s) from None


async def _read(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    received = 0
    async for part in request.stream():
        received += len(part)
        if received > limit:
            raise PayloadTooLarge(limit)
        parts.append(part)
    return b"".join(parts)


def _check_media(request: Request) -> None:
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    is_json = media in ("", "application/json", "text/plain") or (
        media.startswith("application/") and media.endswith("+json")
    )
    if not is_json or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia
