"""What the head of a request tells before the application runs: a probe or not, who calls, and how it is refused."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from server.api.auth import Keys, caller_of
from server.api.dialects.protocol import ErrorDialect
from server.api.middleware import PROBES, SCOPE_SENT, note_answer
from server.api.request import check_open
from server.config import Config
from server.engine.client import Engine
from server.errors import ApiError, QueueFull, TooManyRequests
from server.observability.metrics import Metrics
from server.observability.trace import new_trace, path_of

_Answer = tuple[list[tuple[bytes, bytes]], bytes]


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues that requests to `paths` need, and where their refusals are counted."""

    engine: Engine
    config: Config
    metrics: Metrics
    paths: frozenset[str]


class Reception:
    """Belongs to one application; `dialect_at` gives the dialect of a path."""

    def __init__(
        self,
        keys: Keys,
        root_path: str,
        dialect_at: Callable[[str], ErrorDialect],
        queues: Queues | None = None,
    ) -> None:
        self._keys, self._root_path, self._dialect_at, self._queues = keys, root_path, dialect_at, queues

    def is_probe(self, scope: Scope) -> bool:
        """Whether a request is for health or metrics, which must be answered whatever else happens."""
        return scope["method"] in ("GET", "HEAD") and self._path(scope) in PROBES

    def caller(self, scope: Scope) -> str:
        """Who sends a request."""
        return caller_of(scope, self._keys)

    def full(self, scope: Scope, caller: str) -> QueueFull | None:
        """Why a request must not start: no queue has room for it.

        The application would refuse it too, at one and a half times the cost, and what else is wrong it tells itself.
        """
        if self._queues is None or scope["method"] != "POST" or self._path(scope) not in self._queues.paths:
            return None
        headers = Headers(scope=scope)
        # A browser reads no refusal without the headers that the application adds for it.
        if "origin" in headers or not self._keys.admit(headers):
            return None
        try:
            check_open(self._queues.engine, headers, caller, self._queues.config)
        except QueueFull as refusal:
            return refusal
        except ApiError:
            pass
        return None

    def refuse(self, error: ApiError, scope: Scope) -> _Answer:
        """The headers and the body of a refusal, in the dialect of the path."""
        path = self._path(scope)
        body = self._dialect_at(path).write_error(error)
        sent = Headers(scope=scope)
        trace = new_trace(sent.get("x-request-id"), sent.get("traceparent"))
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "x-request-id": trace.request_id,
            "openai-processing-ms": "0",
            "server-timing": trace.server_timing(),
            **error.headers,
        }
        # The gate counts its own refusals, and does not log each.
        if self._queues is not None and not isinstance(error, TooManyRequests):
            metrics = self._queues.metrics
            metrics.started()
            metrics.refused(error.code or "")
            trace.note_error(error.code or error.type, error.param)
            scope[SCOPE_SENT] = (scope["method"], path_of(scope))
            note_answer(metrics, scope, error.status, trace, path)
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return raw, b"" if scope["method"] == "HEAD" else body

    def _path(self, scope: Scope) -> str:
        path: str = scope["path"]
        return path.removeprefix(self._root_path).rstrip("/") or "/"
