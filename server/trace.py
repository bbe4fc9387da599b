"""What is known of one request while it is answered: its id and where its time went."""

import re
import secrets
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class Trace:
    """One request. Owned by its task on the event loop."""

    request_id: str
    started: float = field(default_factory=perf_counter)
    stages: dict[str, float] = field(default_factory=dict)
    model: str = ""
    inputs: int = 0
    tokens: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a block as one stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + perf_counter() - started

    def note_work(self, model: str, inputs: int, tokens: int) -> None:
        """What was asked of the engine."""
        self.model, self.inputs, self.tokens = model, inputs, tokens

    def seconds(self) -> float:
        """Since the request came in."""
        return perf_counter() - self.started

    def server_timing(self) -> str:
        """The Server-Timing header: stages that ran and the total, in milliseconds."""
        parts = [f"{name};dur={seconds * 1000:.1f}" for name, seconds in self.stages.items()]
        return ", ".join([*parts, f"total;dur={self.seconds() * 1000:.1f}"])

    def log_fields(self) -> dict[str, object]:
        """What the access log says beside method, path and status."""
        work = {"model": self.model, "inputs": self.inputs, "tokens": self.tokens} if self.model else {}
        stages = {f"{name}_ms": round(seconds * 1000, 1) for name, seconds in self.stages.items()}
        return {"request_id": self.request_id, **work, "ms": round(self.seconds() * 1000, 1), **stages}


def new_trace(client_id: str | None) -> Trace:
    """A trace under the client's own id if that is safe to repeat in headers and logs, else a new one."""
    if client_id is not None and _CLIENT_ID.fullmatch(client_id):
        return Trace(client_id)
    return Trace(f"req_{secrets.token_hex(8)}")


def path_of(scope: MutableMapping[str, Any]) -> str:
    """The path below the one that the app is mounted at."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def trace_of(scope: MutableMapping[str, Any]) -> Trace:
    """The trace that the middleware put into an ASGI scope."""
    trace = scope["hearth.trace"]
    assert isinstance(trace, Trace), "a request came in without its trace: is TraceMiddleware the outermost?"
    return trace
