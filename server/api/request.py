"""Reading a request: no more bytes than allowed, no longer than allowed, and only JSON within bounds."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from fastapi import Request
from starlette.datastructures import Headers

from server.api.auth import SCOPE_CALLER
from server.api.body.budget import BodyBudget, HeldBody
from server.api.body.content_encoding import coding_of, decode_body, decoded_size
from server.api.body.json_bounds import JsonBounds, json_bounds, paused_collector
from server.api.dialects.parsing import read_object
from server.config import Config, RequestLimits
from server.engine.client import Engine
from server.errors import BodyTimeout, PayloadTooLarge, UnsupportedMedia
from server.observability.trace import trace_of
from server.processing.context import TOKEN_BYTES, RequestContext
from server.processing.outputs.spaces import EXPECTED_SPACE
from server.processing.work_queue import TRIM_AFTER_SMALL_S, WorkQueue
from server.serialization import JsonObject

# A Content-Length of more digits is left to whoever reads the body.
MAX_LENGTH_DIGITS = 18
# Larger bodies are parsed in a thread: 2,048 x 300 token ids take 35-85 ms.
PARSE_IN_THREAD_BYTES = 256 * 1024

Parsed = TypeVar("Parsed")


class BodyReader:
    """Reads the bodies of one HTTP process. Belongs to the event loop's thread."""

    def __init__(self, limits: RequestLimits, max_held_bytes: int, work: WorkQueue) -> None:
        self._limits = limits
        self._work = work
        self._bounds = json_bounds(limits)
        self._budget = BodyBudget(max_held_bytes, on_freed=work.trim_later)

    def hold(self) -> HeldBody:
        """A place for one body, which is held until the end of a `with` block."""
        return self._budget.hold()

    async def read(self, request: Request, held: HeldBody) -> "RequestBody":
        """The whole body, decoded. The limit on its size holds for the bytes on the wire and for the decoded ones.

        Raises: PayloadTooLarge, BodyTimeout, UnsupportedMedia, TooManyBodies. starlette's ClientDisconnect: the client
        left.
        """
        headers = request.headers
        _check_media_type(headers.get("content-type", ""))
        coding = coding_of(headers.getlist("content-encoding"))
        held.expect(_declared_bytes(headers.get("content-length", ""), self._limits.body_bytes))
        content = await self._receive(request, held)
        if coding is not None:
            content = await self._decoded(content, coding, held)
        return RequestBody(content, self._bounds, self._work)

    async def _receive(self, request: Request, held: HeldBody) -> bytes:
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self._limits.body_timeout_s) as timeout:
                held.on_give_way = partial(timeout.reschedule, 0)
                async for chunk in request.stream():
                    if held.size + len(chunk) > self._limits.body_bytes:
                        raise PayloadTooLarge(self._limits.body_bytes)
                    held.grow(len(chunk))
                    chunks.append(chunk)
        except TimeoutError:
            raise (held.refusal() if held.gave_way else BodyTimeout(self._limits.body_timeout_s)) from None
        held.arrived()
        return b"".join(chunks)

    async def _decoded(self, content: bytes, coding: str, held: HeldBody) -> bytes:
        size = await self._work.run_json(decoded_size, content, coding, self._limits.body_bytes)
        held.grow(max(size - held.size, 0))
        return await self._work.run_json(decode_body, content, coding, size)


class RequestBody:
    """The bytes of one body, which are dropped when they are parsed."""

    def __init__(self, content: bytes, bounds: JsonBounds, work: WorkQueue) -> None:
        self.content = content
        self.size = len(content)
        self._bounds = bounds
        self._work = work

    async def parse(self, parse: Callable[[JsonObject], Parsed]) -> Parsed:
        """What `parse` makes of the body's JSON object. Large bodies are parsed off the event loop.

        Raises: ApiError.
        """
        if self.size <= PARSE_IN_THREAD_BYTES:
            self._work.trim_later(TRIM_AFTER_SMALL_S)
            return parse(self._take_object())
        return await self._work.run_json(lambda: parse(self._take_large_object()))

    def _take_large_object(self) -> JsonObject:
        with paused_collector():
            return self._take_object()

    def _take_object(self) -> JsonObject:
        content, self.content = self.content, b""
        self._bounds.check(content)
        return read_object(content)


def request_context(request: Request, config: Config, body_bytes: int) -> RequestContext:
    """The request as server/processing sees it."""
    return RequestContext(
        trace_of(request.scope),
        request.receive,
        timeout_s(request.headers, config),
        body_bytes,
        caller_of_request(request),
        request.headers.get(EXPECTED_SPACE, ""),
    )


def timeout_s(headers: Headers, config: Config) -> float:
    """How long the request may take in all; X-Request-Timeout may shorten the configured time."""
    header = headers.get("x-request-timeout", "")
    wanted_s = float(header) if header.replace(".", "", 1).isdecimal() else config.request_timeout_s
    return min(wanted_s, config.request_timeout_s)


def declared_tokens(headers: Headers) -> int:
    """About the fewest tokens of a body of the declared length, unless its texts are cut; 1 if that is not known."""
    digits = headers.get("content-length", "")
    return max(int(digits) // TOKEN_BYTES, 1) if digits.isdecimal() and len(digits) <= MAX_LENGTH_DIGITS else 1


def check_open(engine: Engine, headers: Headers, caller: str, config: Config) -> None:
    """Refuse a request before its body is read.

    Raises: ModelLoading, Draining, Unavailable, QueueFull: no model has room.
    """
    engine.check_open(tokens=declared_tokens(headers), caller=caller, left_s=timeout_s(headers, config))


def caller_of_request(request: Request) -> str:
    """Who sends the request; AuthMiddleware has found it out."""
    caller: str = request.scope.get(SCOPE_CALLER, "")
    return caller


def _declared_bytes(digits: str, limit: int) -> int:
    """What the Content-Length says; 0 if there is none.

    Raises: PayloadTooLarge.
    """
    # Compared by length first: int() refuses numbers of more than 4,300 digits, leading zeros included.
    digits = digits.lstrip("0")
    if not digits.isdecimal():
        return 0
    if len(digits) > len(str(limit)) or int(digits) > limit:
        raise PayloadTooLarge(limit)
    return int(digits)


def _check_media_type(content_type: str) -> None:
    media = content_type.split(";")[0].strip().lower()
    is_json = media in ("", "application/json", "text/plain") or (
        media.startswith("application/") and media.endswith("+json")
    )
    if not is_json:
        raise UnsupportedMedia(f"Content-Type '{media[:64]}' is not supported; send JSON as application/json.")
