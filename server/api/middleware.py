"""The outermost layer: request id, timing headers, access log, and every error as its door writes it."""

import logging
from collections.abc import Callable
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.dialects.protocol import ErrorDialect
from server.api.openapi import BEFORE_THE_BODY
from server.errors import ApiError, ClientGone, InternalError, MethodNotAllowed, Retryable, UnknownUrl
from server.observability.metrics import Metrics
from server.observability.trace import Trace, new_trace, path_of

log = logging.getLogger("hearth.access")

# Where a route puts the dialect that a body turned out to speak.
SCOPE_DIALECT = "hearth.door"
GONE = 499
PROBES = {"/health", "/live", "/ready", "/metrics"}


class TraceMiddleware:
    """Gives every request a trace, and every answer its headers; turns exceptions into answers."""

    def __init__(self, app: ASGIApp, door: Callable[[str], ErrorDialect], metrics: Metrics) -> None:
        self._app = app
        self._door = door
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, exactly once."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        trace = new_trace(headers.get("x-request-id"), headers.get("traceparent"))
        scope["hearth.trace"] = trace
        # A trailing slash is the same route: a redirect loses the body in some clients.
        scope["path"] = scope["path"].rstrip("/") or "/"
        self._metrics.started()
        status = 500
        try:
            status = await self._answer(scope, receive, _with_headers(send, trace), trace)
        finally:
            self._note(scope, status, trace)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, trace: Trace) -> int:
        seen: list[int] = []

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.append(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watch)
            return seen[0]
        except (ClientGone, ClientDisconnect):
            return GONE
        except ApiError as error:
            answer = error
            if isinstance(error, Retryable):
                self._metrics.refused(error.code or "")
        except HTTPException as error:
            answer = _from_starlette(error, scope)
        except Exception:  # the edge: logged under the id that the client is told
            log.exception("request %s failed", trace.request_id)
            answer = InternalError(f"Internal error. Request id {trace.request_id}.")
        if not seen:
            spoken = None if answer.status in BEFORE_THE_BODY else scope.get(SCOPE_DIALECT)
            await _send(answer, spoken or self._door(path_of(scope)), watch)
        return answer.status

    def _note(self, scope: Scope, status: int, trace: Trace) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        self._metrics.answered(route, status, trace.seconds(), trace.stages)
        # Probes come every few seconds and say nothing when all is well.
        level = logging.DEBUG if route in PROBES else logging.INFO
        log.log(level, "%s %s %d", scope["method"], quote(path_of(scope)[:128]), status, extra=trace.log_fields())


def _with_headers(send: Send, trace: Trace) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = trace.request_id
            headers["openai-processing-ms"] = str(round(trace.seconds() * 1000))
            headers["server-timing"] = trace.server_timing()
        await send(message)

    return send_with_headers


def _from_starlette(error: HTTPException, scope: Scope) -> ApiError:
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(scope["method"], path_of(scope), allowed)
    return UnknownUrl(scope["method"], path_of(scope))


async def _send(error: ApiError, door: ErrorDialect, send: Send) -> None:
    body = door.write_error(error)
    headers = MutableHeaders({"content-type": "application/json", "content-length": str(len(body)), **error.headers})
    await send({"type": "http.response.start", "status": error.status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})
