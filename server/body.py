"""Reading a request body: no more bytes than allowed, no longer than allowed, JSON by its media type."""

import asyncio

from fastapi import Request

from server.config import Limits
from server.errors import BodyTimeout, PayloadTooLarge, UnsupportedMedia


async def read_body(request: Request, limits: Limits) -> bytes:
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
