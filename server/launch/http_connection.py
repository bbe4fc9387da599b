"""One HTTP connection: uvicorn's protocol over httptools, with the bounds that both lack.

The bounds are: the bytes of a head and of a body's framing, the time that a head takes, the requests that a client
sends ahead of their answers, and the number of connections. An offer of another protocol (`Upgrade`) is ignored, as
RFC 9110, section 7.8 allows. What the parser refuses gets an error body of ours.
"""

import asyncio
import resource
from collections.abc import Iterator
from functools import partial
from typing import cast

import httptools
from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from server.api.auth import SCOPE_ABSOLUTE, SCOPE_CALLER
from server.api.dialects.openai import OpenAI
from server.api.reception import Reception
from server.api.request import MAX_LENGTH_DIGITS
from server.errors import ApiError, HeadTooLarge, InvalidHttp
from server.launch.request_gate import RequestGate
from server.observability.metrics import Metrics

# nginx takes 32 KiB of headers by default, Envoy 60 KiB.
MAX_HEAD_BYTES = 64 * 1024
# Chunks of a single byte have six bytes around them.
MAX_OVERHEAD_PER_BODY_BYTE = 8
HEAD_TIMEOUT_S = 20.0
# Nothing more is read of a connection on which this many requests wait for the one before them.
MAX_REQUESTS_AHEAD = 8
# A request that was answered while so much of its body was still to come was refused. The rest is read after a second,
# the least that Retry-After says: clients that try again at once would keep the event loop busy with reading.
UNREAD_BODY_BYTES = 64 * 1024
REST_S = 1.0
# Data is parsed in pieces: the parser cannot be stopped within one, and a request can be 18 bytes long.
HEAD_PIECE_BYTES = 512
CHUNKED_PIECE_BYTES = 8 * 1024
# Headers that belong to an offer of another protocol.
OFFER_HEADERS = (b"upgrade", b"http2-settings")


def raise_file_limit() -> int:
    """Raise this process's limit of open files as far as it may go, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else soft


class ConnectionPool:
    """The connections of one process. When there are too many, the one that is idle the longest makes room."""

    def __init__(
        self,
        metrics: Metrics,
        max_connections: int,
        gate: RequestGate,
        reception: Reception,
        head_timeout_s: float = HEAD_TIMEOUT_S,
    ) -> None:
        self._metrics = metrics
        self.gate, self.reception = gate, reception
        self._max_connections = max_connections
        self.head_timeout_s = head_timeout_s
        # In the order in which they became idle: no request of theirs is read or answered.
        self._idle: dict[BoundedConnection, None] = {}

    def connection_class(self) -> type["BoundedConnection"]:
        """The class that uvicorn makes connections of."""
        return type("Connection", (BoundedConnection,), {"pool": self})

    def admits(self, open_connections: int) -> bool:
        """Whether one more connection may be opened; closes an idle one for it."""
        if open_connections < self._max_connections:
            return True
        idle = next(iter(self._idle), None)
        if idle is None:
            self._metrics.refused("too_many_connections")
            return False
        self._metrics.refused("idle_connection")
        self.remove(idle)
        idle.transport.abort()
        return True

    def late(self) -> None:
        """Count a head that did not arrive in time."""
        self._metrics.refused("head_timeout")

    def add_idle(self, connection: "BoundedConnection") -> None:
        """Note that nothing is read or answered on a connection now."""
        self._idle[connection] = None

    def remove(self, connection: "BoundedConnection") -> None:
        """The connection is busy or gone."""
        self._idle.pop(connection, None)


class _Flow(FlowControl):
    """Flow control whose reading stays paused while it is held, whatever a request that waits for its body asks."""

    held = False

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class BoundedConnection(HttpToolsProtocol):
    """Belongs to the event loop's thread. uvicorn makes one for each connection, of a subclass that has `pool`."""

    pool: ConnectionPool
    flow: _Flow

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse a connection too many; expect the head of the first request."""
        self._unread = bytearray()
        # Bytes of the current message: framing, body, and the part of its Content-Length that has not come yet.
        self._overhead_bytes = self._body_bytes = self._promised_bytes = 0
        self._in_body = self._is_resting = False
        self._refusal: ApiError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        if not self.pool.admits(len(self.connections)):
            transport.abort()
            return
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self.pool.add_idle(self)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the requests that nobody waits for."""
        self.pool.remove(self)
        self._stop_timer()
        self._unread.clear()
        self.pipeline.clear()
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, or keep it while requests wait."""
        if self.transport is not None and self._refusal is None:
            self._unread += data
            self._parse_unread()

    def _parse_unread(self) -> None:
        while self._unread and self._is_open() and len(self.pipeline) < MAX_REQUESTS_AHEAD:
            size = self._piece_bytes()
            piece = bytes(self._unread[:size])
            del self._unread[:size]
            self._parse(piece)
        self._hold_while_requests_wait()

    def _is_open(self) -> bool:
        return self._refusal is None and not self.transport.is_closing()

    def _piece_bytes(self) -> int:
        if not self._in_body:
            return HEAD_PIECE_BYTES
        return self._promised_bytes or CHUNKED_PIECE_BYTES

    def _parse(self, piece: bytes) -> None:
        # Counted before the parser sees it: httptools joins the parts of a long header in quadratic time.
        self._overhead_bytes += len(piece)
        expected = min(len(piece), self._promised_bytes)
        if self._overhead_bytes - expected > MAX_HEAD_BYTES + MAX_OVERHEAD_PER_BODY_BYTE * self._body_bytes:
            self._refuse(InvalidHttp() if self._in_body else HeadTooLarge(MAX_HEAD_BYTES))
            return
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_offer(piece[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(InvalidHttp())

    def _ignore_offer(self, rest: bytes) -> None:
        """Parse a head again without its offer of another protocol: the parser takes no body behind one."""
        if (method := self.parser.get_method()) == b"CONNECT":
            self._refuse(InvalidHttp())
            return
        head = b"%s %s HTTP/%s\r\n" % (method, self.url, self.parser.get_http_version().encode())
        lines = [b"%s: %s\r\n" % header for header in _without_offer(self.headers)]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"".join((head, *lines, b"\r\n")))
        self._unread[:0] = rest

    def on_message_begin(self) -> None:
        """Called by the parser at the first byte of a request."""
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self._in_body = False
        if self._timer is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Called by the parser at the end of a head."""
        if self.parser.should_upgrade():
            return
        self._stop_timer()
        self.pool.remove(self)
        lengths = [value for name, value in self.headers if name == b"content-length"]
        self._promised_bytes = int(lengths[0]) if lengths and len(lengths[0]) <= MAX_LENGTH_DIGITS else 0
        self._in_body = True
        self._overhead_bytes = self._body_bytes = 0
        self.scope[SCOPE_ABSOLUTE] = not self.url.startswith((b"/", b"*"))  # type: ignore[literal-required]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser for each part of a body."""
        self._overhead_bytes -= len(body)
        self._body_bytes += len(body)
        self._promised_bytes = max(self._promised_bytes - len(body), 0)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a request."""
        if self.parser.should_upgrade():
            return
        self._in_body = False
        self._overhead_bytes = self._body_bytes = self._promised_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer was written: the next request may start, and more may be read."""
        super().on_response_complete()
        if self._refusal is not None:
            self._refuse_when_answered(self._refusal)
        elif not self.transport.is_closing():
            if self._promised_bytes > UNREAD_BODY_BYTES:
                self._rest()
            self._parse_unread()
            if not self._is_answering():
                self.pool.add_idle(self)

    def _rest(self) -> None:
        self._is_resting = True
        self.loop.call_later(REST_S, self._end_rest)

    def _end_rest(self) -> None:
        self._is_resting = False
        if not self.transport.is_closing():
            self._hold_while_requests_wait()

    def _hold_while_requests_wait(self) -> None:
        is_held = self._is_resting or bool(self._unread or self.pipeline or self._refusal)
        was_held, self.flow.held = self.flow.held, is_held
        if self.flow.held:
            self.flow.pause_reading()
        elif was_held:
            self.flow.resume_reading()

    def _expect_head(self) -> None:
        self._timer = self.loop.call_later(self.pool.head_timeout_s, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        self._timer = None
        if self.flow.held or self._is_answering():
            # We do not read, or the client waits for us: the rest of the head may be on its way.
            self._expect_head()
        else:
            self.pool.late()
            self.transport.close()

    def _is_answering(self) -> bool:
        return bool(self.pipeline) or (self._running is not None and not self._running.response_complete)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        gate, reception, scope = self.pool.gate, self.pool.reception, cast("Scope", cycle.scope)
        if reception.is_probe(scope):
            super()._start_asgi_task(cycle, app)
        elif refusal := gate.refusal(len(self.tasks)):
            # Not now: the parser is within this request, and the next one of this connection may follow.
            self.loop.call_soon(self._answer_refused, cycle, refusal)
        else:
            caller = scope[SCOPE_CALLER] = reception.caller(scope)
            if full := reception.full(scope, caller):
                self.loop.call_soon(self._answer_refused, cycle, full)
            else:
                gate.enter(caller, partial(self._start, cycle, app))

    def _start(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not cycle.disconnected:
            super()._start_asgi_task(cycle, app)

    def _answer_refused(self, cycle: RequestResponseCycle, refusal: ApiError) -> None:
        if cycle.disconnected or self.transport.is_closing():
            return
        cycle.response_started = cycle.response_complete = True
        headers, body = self.pool.reception.refuse(refusal, cast("Scope", cycle.scope))
        closing = [] if cycle.keep_alive else [(b"connection", b"close")]
        lines = [b"%s: %s\r\n" % header for header in (*self.server_state.default_headers, *headers, *closing)]
        self.transport.write(b"".join((STATUS_LINE[refusal.status], *lines, b"\r\n", body)))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def _refuse(self, error: ApiError) -> None:
        """Take nothing more from this connection; `error` is sent when the requests before it are answered."""
        self._refusal = error
        self._stop_timer()
        self._unread.clear()
        self._hold_while_requests_wait()
        if self._in_body and self.cycle is not self._running:
            self.pipeline.popleft()  # the newest request: it is its body that is broken
        elif self._in_body and self._running is not None and not self._running.response_started:
            # Whoever waits for this body hears that it will not come.
            self._running.disconnected = True
            self._running.message_event.set()
            self._write(error)
            return
        self._refuse_when_answered(error)

    def _refuse_when_answered(self, error: ApiError) -> None:
        if not self._is_answering() and not self.transport.is_closing():
            self._write(error)

    def _write(self, error: ApiError) -> None:
        body = OpenAI().write_error(error)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()


def _without_offer(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            yield name, b", ".join(token for token in tokens if token.lower() not in OFFER_HEADERS)
        elif name not in OFFER_HEADERS:
            yield name, value
