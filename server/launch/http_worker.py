"""One HTTP process: uvicorn and the application. On a signal it finishes its requests, then exits."""

import asyncio
import gc
import logging
import multiprocessing
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing.connection import Connection
from socket import socket
from types import FrameType
from typing import NamedTuple

import uvicorn
from anyio import to_thread

from server.api.app import create_app, dialect_at
from server.api.auth import Keys, read_keys
from server.api.reception import Queues, Reception
from server.config import Auth, Config, ConfigError
from server.engine.admission import Admission, make_admission
from server.engine.client import Engine, EngineClient
from server.engine.load_balancer import LoadBalancer
from server.engine.status_page import BEAT_S, StatusPage
from server.engine.zmq_transport import ZmqEngineClient
from server.launch.engine_process import EngineSettings, exit_with_parent
from server.launch.http_connection import ConnectionPool, raise_file_limit
from server.launch.probe_listener import ProbeListener
from server.launch.request_gate import RequestGate
from server.observability.logs import failures_logged, set_up_logging
from server.observability.metrics import Metrics
from server.registry import ModelRegistry
from server.shared_memory import SharedMemory

log = logging.getLogger("hearth")

THREADS = 8
DRAIN_POLL_S = 0.02
# How often uvicorn calls on_tick().
TICK_S = 0.1
# Open files other than connections: the listener, the engine, pipes, and model files while they are read.
RESERVED_FILES = 64
# The event loop may be held up for a while, by the interpreter's lock or on a crowded machine; longer than this, the
# process hangs. Requests in progress are lost then, so the limit is longer than that of an engine.
LONGEST_SILENCE_S = 10.0
# How long uvicorn waits for the requests that are left after draining.
GRACEFUL_S = 5


class Listeners(NamedTuple):
    """The sockets that accept connections."""

    main: socket
    probes: socket | None


@asynccontextmanager
async def remote_engines(
    settings: Sequence[EngineSettings], admission: Admission
) -> AsyncIterator[EngineClient | LoadBalancer]:
    """Clients of the engine processes with these settings, as one engine."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(ZmqEngineClient(engine.address, admission, engine.status))
            for engine in settings
        ]
        if len(clients) == 1:
            yield clients[0]
            return
        by_model: dict[str, list[EngineClient]] = {}
        for engine, client in zip(settings, clients, strict=True):
            for model in engine.sources:
                by_model.setdefault(model, []).append(client)
        yield LoadBalancer(by_model)


class DrainingServer(uvicorn.Server):
    """Finishes the running requests at the first signal, and refuses new ones; exits at the second signal."""

    def __init__(
        self,
        config: uvicorn.Config,
        engine: Engine,
        metrics: Metrics,
        drain_timeout_s: float,
        gate: RequestGate,
        announcement: str = "",
        probes: ProbeListener | None = None,
    ) -> None:
        """`announcement` is logged whenever the engine becomes ready."""
        super().__init__(config)
        self._engine = engine
        self._metrics = metrics
        self._drain_timeout_s = drain_timeout_s
        self._gate = gate
        self._probes = probes
        self._announcement = announcement
        self._was_ready = False
        self._draining: asyncio.Future[None] | None = None

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second: keeps this process's gauge current even if it never serves /metrics."""
        self._gate.tick(TICK_S)
        state = self._engine.state()
        self._metrics.ready(state)
        if self._probes is not None:
            self._probes.note(state)
        is_ready = state.phase == "ready"
        if is_ready and not self._was_ready and self._announcement:
            log.info("%s", self._announcement)
        self._was_ready = is_ready
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called on SIGINT and SIGTERM."""
        if multiprocessing.parent_process() is not None and (sig == signal.SIGINT or self._draining is not None):
            # Ctrl-C and systemd's SIGTERM reach the whole process group, and the parent sends SIGTERM once more.
            return
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        if multiprocessing.parent_process() is None:
            requests = len(self.server_state.tasks)
            log.info("draining: %d requests are in progress and have %g s", requests, self._drain_timeout_s)
        self._engine.drain()
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        # The port stays open, so that /ready and late requests get a 503.
        loop = asyncio.get_running_loop()
        end = loop.time() + self._drain_timeout_s
        while self._is_answering() and loop.time() < end:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(DRAIN_POLL_S)
        # What has no result by now gets 503; uvicorn still waits until that is written.
        self._engine.end_drain()
        self.should_exit = True

    def _is_answering(self) -> bool:
        # A finished response may still be in the buffer for a client that reads slowly.
        state = self.server_state
        return bool(state.tasks or self._gate.waiting) or any(
            connection.transport.get_write_buffer_size() for connection in state.connections
        )


def make_server(
    config: Config,
    registry: ModelRegistry,
    keys: Keys,
    engine: Engine,
    metrics: Metrics,
    announcement: str,
    probe_listener: socket | None = None,
) -> DrainingServer:
    """A server over the application; serve(sockets) starts it."""
    probes = ProbeListener(probe_listener) if probe_listener is not None else None
    if probes is not None:
        probes.start()
    app = create_app(config, registry, engine, metrics, keys)
    gate = RequestGate(metrics, config.max_requests)
    queues = Queues(engine, config, metrics, app.state.model_paths)
    reception = Reception(keys, config.root_path, dialect_at, queues)
    connections = ConnectionPool(metrics, raise_file_limit() - RESERVED_FILES, gate, reception)
    settings = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        http=connections.connection_class(),
        ws="none",
        # Nothing depends on the client's address, so no header with it is trusted.
        proxy_headers=False,
        timeout_keep_alive=config.keep_alive_s,
        timeout_graceful_shutdown=GRACEFUL_S,
    )
    # Each thread may hold a whole body as Python objects, and more threads of Python only wait for one another.
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    # What is there now stays: the collector need not walk through it for every large request.
    gc.collect()
    gc.freeze()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_keys, config.auth, keys)
    return DrainingServer(settings, engine, metrics, config.drain_timeout_s, gate, announcement, probes)


def reload_keys(auth: Auth, keys: Keys) -> None:
    """Read the keys again; keep the old ones if that fails."""
    try:
        keys.replace(read_keys(auth))
    except ConfigError as error:
        log.warning("the API keys are unchanged: %s", error)
    else:
        log.info("reloaded %d API keys", len(keys))


def run_http(
    config: Config,
    registry: ModelRegistry,
    keys: Keys,
    engines: Sequence[EngineSettings],
    listeners: Listeners,
    announcement: str,
    metrics: Metrics,
    status: SharedMemory,
    reason: "Connection[str, str]",
) -> None:
    """The main function of one of several HTTP processes. It reads no file that may have changed since the start."""
    set_up_logging(config.log_format, config.log_level).dropped = metrics.log_lines_dropped
    exit_with_parent(engines[0].folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with failures_logged("http", tell=reason.send):
        run_event_loop(_serve(config, registry, keys, engines, listeners, announcement, metrics, status))


def run_event_loop(main: Coroutine[None, None, None]) -> None:
    """Run until `main` returns, on uvloop where uvicorn finds it."""
    factory = uvicorn.Config(app="", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


async def _serve(
    config: Config,
    registry: ModelRegistry,
    keys: Keys,
    engines: Sequence[EngineSettings],
    listeners: Listeners,
    announcement: str,
    metrics: Metrics,
    status: SharedMemory,
) -> None:
    async with remote_engines(engines, make_admission(config)) as engine:
        server = make_server(config, registry, keys, engine, metrics, announcement, listeners.probes)
        beating = asyncio.create_task(_beat(StatusPage(status)))
        await server.serve([listeners.main])
        beating.cancel()


async def _beat(page: StatusPage) -> None:
    # On the event loop, so that a loop which is stuck gives no sign of life either.
    while True:
        page.beat()
        await asyncio.sleep(BEAT_S)
