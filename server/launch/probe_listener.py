"""/live, /health and /ready on a port of their own: a thread answers, whatever the event loop does."""

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from time import monotonic
from typing import Any

from server.api.paths import PROBE_OF
from server.api.system_routes import RETRY_AFTER_S, probe_answer
from server.engine.messages import EngineState

# The event loop says ten times a second how the engine is. While it does not for so long, the process is not ready.
BLOCKED_S = 5.0
# After so long it will not come back: a liveness probe shall fail.
DEAD_S = 60.0
# A client that sends nothing is disconnected.
CLIENT_TIMEOUT_S = 5.0
_LOADING = EngineState("loading", reason="the event loop has not started")


class ProbeListener:
    """Answers from the last state that note() was given. Belongs to the event loop's thread, but for its own."""

    def __init__(self, listener: socket) -> None:
        self._noted = _LOADING, monotonic()
        # Several processes may accept from one socket: whoever comes second must not wait there.
        listener.settimeout(0)
        self._server = ThreadingHTTPServer(listener.getsockname()[:2], self._handler(), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener

    def start(self) -> None:
        """Answer until the process ends."""
        threading.Thread(target=self._server.serve_forever, name="hearth-probes", daemon=True).start()

    def note(self, state: EngineState) -> None:
        """Tell that the event loop works, and how the engine is."""
        self._noted = state, monotonic()

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body for a path; 404 without a body for any other path. Any thread may ask."""
        probe = PROBE_OF.get(path.partition("?")[0].rstrip("/"))
        if probe is None:
            return HTTPStatus.NOT_FOUND, b""
        state, noted_at = self._noted
        silent_s = monotonic() - noted_at
        if silent_s > (BLOCKED_S if probe == "/ready" else DEAD_S):
            state = EngineState("failed", reason=f"the event loop has been blocked for {silent_s:.0f} s")
            return probe_answer("/ready", state)
        return probe_answer(probe, state)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            timeout = CLIENT_TIMEOUT_S

            def do_GET(self) -> None:
                status, body = answer(self.path)
                self.send_response_only(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status == HTTPStatus.SERVICE_UNAVAILABLE:
                    self.send_header("Retry-After", RETRY_AFTER_S)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 (a name that http.server calls)

            def log_message(self, *_: Any) -> None:
                """Probes are no news."""

        return Handler
