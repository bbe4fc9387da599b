"""Reading a request: no more bytes than allowed, no longer than allowed, and only JSON."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import to_thread
from fastapi import Request

from server.api.body.content_encoding import coding_of, decode_body
from server.api.dialects.parsing import read_object
from server.config import Config, RequestLimits
from server.errors import BodyTimeout, PayloadTooLarge, UnsupportedMedia
from server.observability.trace import trace_of
from server.processing.context import RequestContext
from server.serialization import JsonObject

# Larger bodies are parsed in a thread: 2,048 x 300 token ids take 35-85 ms.
PARSE_IN_THREAD_BYTES = 256 * 1024

Parsed = TypeVar("Parsed")


async def read_body(request: Request, limits: RequestLimits) -> bytes:
    """The whole body, decoded. The limit holds for the bytes on the wire and for the decoded ones.

    Raises: PayloadTooLarge, BodyTimeout, UnsupportedMedia. starlette's ClientDisconnect: the client left.
    """
    _check_media_type(request.headers.get("content-type", ""))
    coding = coding_of(request.headers.getlist("content-encoding"))
    if _exceeds(request.headers.get("content-length", ""), limits.body_bytes):
        raise PayloadTooLarge(limits.body_bytes)
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            body = await _receive(request, limits.body_bytes)
    except TimeoutError:
        raise BodyTimeout(limits.body_timeout_s) from None
    return body if coding is None else await to_thread.run_sync(decode_body, body, coding, limits.body_bytes)


async def parse_body(body: bytes, parse: Callable[[JsonObject], Parsed]) -> Parsed:
    """What `parse` makes of the body's JSON object. Large bodies are parsed off the event loop.

    Raises: ApiError.
    """
    if len(body) <= PARSE_IN_THREAD_BYTES:
        return parse(read_object(body))
    return await to_thread.run_sync(lambda: parse(read_object(body)))


def request_context(request: Request, config: Config, body_bytes: int) -> RequestContext:
    """The request as server/processing sees it; X-Request-Timeout may shorten the configured timeout."""
    header = request.headers.get("x-request-timeout", "")
    timeout_s = float(header) if header.replace(".", "", 1).isdecimal() else config.request_timeout_s
    return RequestContext(
        trace_of(request.scope), request.receive, min(timeout_s, config.request_timeout_s), body_bytes
    )


async def _receive(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    received_bytes = 0
    async for chunk in request.stream():
        received_bytes += len(chunk)
        if received_bytes > limit:
            raise PayloadTooLarge(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _exceeds(digits: str, limit: int) -> bool:
    # Compared by length first: int() refuses numbers of more than 4,300 digits, leading zeros included.
    digits = digits.lstrip("0")
    return digits.isdecimal() and (len(digits) > len(str(limit)) or int(digits) > limit)


def _check_media_type(content_type: str) -> None:
    media = content_type.split(";")[0].strip().lower()
    is_json = media in ("", "application/json", "text/plain") or (
        media.startswith("application/") and media.endswith("+json")
    )
    if not is_json:
        raise UnsupportedMedia(f"Content-Type '{media[:64]}' is not supported; send JSON as application/json.")
