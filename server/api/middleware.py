"""The outermost layer: request id, timing headers, access log, and error responses in the format of the dialect."""

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.dialects.protocol import ErrorDialect
from server.api.openapi import BEFORE_THE_BODY
from server.api.paths import PROBE_OF, PathTable
from server.errors import ApiError, ClientGone, Draining, InternalError, MethodNotAllowed, Retryable, UnknownUrl
from server.observability.metrics import Metrics
from server.observability.trace import Trace, new_trace, path_of

log = logging.getLogger("hearth.access")

# Scope key under which a route stores the dialect of the request.
SCOPE_DIALECT = "hearth.dialect"
# Scope key of the method and path that the client sent: routing changes those of the scope.
SCOPE_SENT = "hearth.sent"
# nginx's status for a client that closed the connection; it is logged, never sent.
CLIENT_CLOSED_REQUEST = 499
PROBES = {*PROBE_OF, "/metrics"}


class TraceMiddleware:
    """Gives every request a trace and every response its headers; turns exceptions into error responses."""

    def __init__(
        self,
        app: ASGIApp,
        dialect_of: Callable[[str], ErrorDialect],
        paths: PathTable,
        metrics: Metrics,
        root_path: str = "",
    ) -> None:
        self._app = app
        self._dialect_of = dialect_of
        self._paths = paths
        self._metrics = metrics
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request exactly once."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        trace = new_trace(headers.get("x-request-id"), headers.get("traceparent"))
        method = scope["method"]
        if method == "HEAD":
            # The same answer as for GET, without its body. In a copy: the server looks at the method of its own scope.
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        scope["hearth.trace"] = trace
        scope["path"] = scope.get("root_path", "") + self._path(scope)
        scope[SCOPE_SENT] = (method, path_of(scope))
        self._metrics.started()
        status = 500
        try:
            status = await self._answer(scope, receive, _with_headers(send, trace), trace)
        finally:
            note_answer(self._metrics, scope, status, trace)

    def _path(self, scope: Scope) -> str:
        path = path_of(scope)
        if self._root_path and f"{path}/".startswith(f"{self._root_path}/"):
            path = path.removeprefix(self._root_path)
        # A trailing slash leads to the same route without a redirect: some clients lose the body on a redirect.
        return path.rstrip("/") or "/"

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
            failure = self._from_starlette(error, scope)
        except asyncio.CancelledError as error:
            if not _is_shutdown(error):
                raise
            failure = Draining()
        except Exception:  # the outermost layer: logged under the id that the client receives
            log.exception("request %s failed", trace.request_id)
            failure = InternalError(f"Internal error. Request id {trace.request_id}.")
        trace.note_error(failure.code or failure.type, failure.param)
        if not statuses:
            dialect = None if failure.status in BEFORE_THE_BODY else scope.get(SCOPE_DIALECT)
            await _send(failure, dialect or self._dialect_of(scope[SCOPE_SENT][1]), watch)
        return failure.status

    def _from_starlette(self, error: HTTPException, scope: Scope) -> ApiError:
        method, path = scope[SCOPE_SENT]
        if error.status_code == 405:
            return MethodNotAllowed(method, path, self._paths.allowed(path) or ["GET", "HEAD"])
        return UnknownUrl(method, path, self._paths.nearest(path))


def note_answer(metrics: Metrics, scope: Scope, status: int, trace: Trace, route: str = "") -> None:
    """Count an answer and log it; `route` is that of a request which the application did not see."""
    route = route or getattr(scope.get("route"), "path", "unknown")
    metrics.answered(route, status, trace.seconds(), trace.stages)
    # Probes come every few seconds, and their success is no news.
    level = logging.DEBUG if route in PROBES else logging.INFO
    method, path = scope[SCOPE_SENT]
    fields = {"method": method, "path": quote(path[:128]), "status": status}
    log.log(level, "%s %s %d", *fields.values(), extra={**fields, **_client(scope), **trace.log_fields()})


def _client(scope: Scope) -> dict[str, str]:
    """The address of the connection, and the one that a proxy reports. Any client can send the latter."""
    address = {"client": scope["client"][0]} if scope.get("client") else {}
    reported = Headers(scope=scope).get("x-forwarded-for", "")
    return address | ({"forwarded_for": quote(reported[:128], safe=",:.[]")} if reported else {})


def _is_shutdown(error: asyncio.CancelledError) -> bool:
    # uvicorn.Server.shutdown cancels with this message what is still running, such as the wait for half a body.
    return "graceful shutdown" in str(error)


def _with_headers(send: Send, trace: Trace) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = trace.request_id
            headers["openai-processing-ms"] = str(round(trace.seconds() * 1000))
            headers["server-timing"] = trace.server_timing()
            if trace.control_tokens:
                headers["X-Hearth-Control-Tokens"] = str(trace.control_tokens)
        await send(message)

    return send_with_headers


def _without_body(send: Send) -> Send:
    async def send_without_body(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_without_body


async def _send(error: ApiError, dialect: ErrorDialect, send: Send) -> None:
    body = dialect.write_error(error)
    headers = MutableHeaders({"content-type": "application/json", "content-length": str(len(body)), **error.headers})
    await send({"type": "http.response.start", "status": error.status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})
