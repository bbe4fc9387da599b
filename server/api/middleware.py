"""The outermost layer: request id, timing headers, access log, and error responses in the format of the dialect."""

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

# Scope key under which a route stores the dialect of the request.
SCOPE_DIALECT = "hearth.dialect"
# nginx's status for a client that closed the connection; it is logged, never sent.
CLIENT_CLOSED_REQUEST = 499
PROBES = {"/health", "/live", "/ready", "/metrics"}


class TraceMiddleware:
    """Gives every request a trace and every response its headers; turns exceptions into error responses."""

    def __init__(self, app: ASGIApp, dialect_of: Callable[[str], ErrorDialect], metrics: Metrics) -> None:
        self._app = app
        self._dialect_of = dialect_of
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request exactly once."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        trace = new_trace(headers.get("x-request-id"), headers.get("traceparent"))
        scope["hearth.trace"] = trace
        # A trailing slash leads to the same route without a redirect: some clients lose the body on a redirect.
        scope["path"] = scope["path"].rstrip("/") or "/"
        self._metrics.started()
        status = 500
        try:
            status = await self._answer(scope, receive, _with_headers(send, trace), trace)
        finally:
            self._note(scope, status, trace)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, trace: Trace) -> int:
        statuses: list[int] = []

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watch)
            return statuses[0]
        except (ClientGone, ClientDisconnect):
            return CLIENT_CLOSED_REQUEST
        except ApiError as error:
            failure = error
            if isinstance(error, Retryable):
                self._metrics.refused(error.code or "")
        except HTTPException as error:
            failure = _from_starlette(error, scope)
        except Exception:  # the outermost layer: logged under the id that the client receives
            log.exception("request %s failed", trace.request_id)
            failure = InternalError(f"Internal error. Request id {trace.request_id}.")
        if not statuses:
            dialect = None if failure.status in BEFORE_THE_BODY else scope.get(SCOPE_DIALECT)
            await _send(failure, dialect or self._dialect_of(path_of(scope)), watch)
        return failure.status

    def _note(self, scope: Scope, status: int, trace: Trace) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        self._metrics.answered(route, status, trace.seconds(), trace.stages)
        # Probes come every few seconds, and their success is no news.
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
        allowed_methods = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(scope["method"], path_of(scope), allowed_methods)
    return UnknownUrl(scope["method"], path_of(scope))


async def _send(error: ApiError, dialect: ErrorDialect, send: Send) -> None:
    body = dialect.write_error(error)
    headers = MutableHeaders({"content-type": "application/json", "content-length": str(len(body)), **error.headers})
    await send({"type": "http.response.start", "status": error.status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})
