"""What the head of a request tells before the application runs: a probe or not, who calls, and how it is refused."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import Scope

from server.api.auth import Keys, caller_of
from server.api.dialects.protocol import ErrorDialect
from server.api.middleware import PROBES
from server.errors import ApiError
from server.observability.trace import new_trace

_Answer = tuple[list[tuple[bytes, bytes]], bytes]


class Reception:
    """Belongs to one application; `dialect_at` gives the dialect of a path."""

    def __init__(self, keys: Keys, root_path: str, dialect_at: Callable[[str], ErrorDialect]) -> None:
        self._keys, self._root_path, self._dialect_at = keys, root_path, dialect_at

    def is_probe(self, scope: Scope) -> bool:
        """Whether a request is for health or metrics, which must be answered whatever else happens."""
        return scope["method"] in ("GET", "HEAD") and self._path(scope) in PROBES

    def caller(self, scope: Scope) -> str:
        """Who sends a request."""
        return caller_of(scope, self._keys)

    def refuse(self, error: ApiError, scope: Scope) -> _Answer:
        """The headers and the body of a refusal, in the dialect of the path."""
        body = self._dialect_at(self._path(scope)).write_error(error)
        trace = new_trace(Headers(scope=scope).get("x-request-id"))
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "x-request-id": trace.request_id,
            "openai-processing-ms": "0",
            "server-timing": trace.server_timing(),
            **error.headers,
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return raw, b"" if scope["method"] == "HEAD" else body

    def _path(self, scope: Scope) -> str:
        path: str = scope["path"]
        return path.removeprefix(self._root_path).rstrip("/") or "/"
