"""The trace of one request: its id, its work and the time of its stages."""

import re
import secrets
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# W3C Trace Context: version-traceid-parentid-flags; an id of zeros is invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Trace:
    """Belongs to the request's task on the event loop."""

    request_id: str
    trace_id: str = ""
    started: float = field(default_factory=perf_counter)
    stages: dict[str, float] = field(default_factory=dict)
    model: str = ""
    inputs: int = 0
    tokens: int = 0
    # Texts that spelt out a control token of the model, which was read as ordinary text.
    control_tokens: int = 0
    error: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of this block to a stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + perf_counter() - started

    def note_work(self, model: str, inputs: int, tokens: int) -> None:
        """Record what the request asks of the engine."""
        self.model, self.inputs, self.tokens = model, inputs, tokens

    def note_error(self, code: str, param: str | None) -> None:
        """Record why the request is refused."""
        self.error = {"error_code": code} | ({"param": param} if param else {})

    def seconds(self) -> float:
        """Seconds since the request arrived."""
        return perf_counter() - self.started

    def server_timing(self) -> str:
        """The Server-Timing header: stages that ran and the total, in milliseconds."""
        parts = [f"{name};dur={seconds * 1000:.1f}" for name, seconds in self.stages.items()]
        return ", ".join([*parts, f"total;dur={self.seconds() * 1000:.1f}"])

    def log_fields(self) -> dict[str, object]:
        """The fields of the access log beside method, path and status."""
        trace = {"trace_id": self.trace_id} if self.trace_id else {}
        work = {"model": self.model, "inputs": self.inputs, "tokens": self.tokens} if self.model else {}
        spelt = {"control_tokens_as_text": self.control_tokens} if self.control_tokens else {}
        stages = {f"{name}_ms": round(seconds * 1000, 1) for name, seconds in self.stages.items()}
        return {
            "request_id": self.request_id,
            **trace,
            **work,
            **spelt,
            **self.error,
            "ms": round(self.seconds() * 1000, 1),
            **stages,
        }


def new_trace(client_id: str | None, traceparent: str | None = None) -> Trace:
    """A trace with the client's request id if that is safe in headers and logs, else with a new id.

    `traceparent` is the header of W3C Trace Context. Its trace id is logged, unless the header is malformed.
    """
    is_safe = client_id is not None and _CLIENT_ID.fullmatch(client_id)
    parent = _TRACEPARENT.fullmatch(traceparent or "")
    return Trace(str(client_id) if is_safe else f"req_{secrets.token_hex(8)}", parent[1] if parent else "")


def path_of(scope: MutableMapping[str, Any]) -> str:
    """The path below the mount point of the application."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def trace_of(scope: MutableMapping[str, Any]) -> Trace:
    """The trace that TraceMiddleware put into the ASGI scope."""
    trace = scope["hearth.trace"]
    assert isinstance(trace, Trace), "a request has no trace: TraceMiddleware must be the outermost middleware"
    return trace
