"""One HTTP process: uvicorn over the app, which drains before it ends."""

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing.connection import Connection
from socket import socket
from types import FrameType

import uvicorn
from anyio import to_thread

from server.api.app import create_app
from server.api.auth import Keys, read_keys
from server.config import Auth, Config, ConfigError
from server.engine.admission import Admission, make_admission
from server.engine.client import Engine, EngineClient
from server.engine.load_balancer import LoadBalancer
from server.engine.zmq_transport import ZmqEngineClient
from server.launch.engine_process import EngineSettings, end_with_parent
from server.launch.http_connection import ConnectionPool, raise_file_limit
from server.observability.logs import set_up_logging
from server.observability.metrics import Metrics
from server.registry import ModelRegistry, load_registry


@asynccontextmanager
async def remote_engines(
    settings: Sequence[EngineSettings], admission: Admission
) -> AsyncIterator[EngineClient | LoadBalancer]:
    """The near side of the engine processes that were started with these settings."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(ZmqEngineClient(each.address, admission)) for each in settings]
        if len(engines) == 1:
            yield engines[0]
            return
        by_model: dict[str, list[EngineClient]] = {}
        for each, engine in zip(settings, engines, strict=True):
            for model in each.sources:
                by_model.setdefault(model, []).append(engine)
        yield LoadBalancer(by_model)


log = logging.getLogger("hearth")

THREADS = 8
DRAIN_POLL_S = 0.02
# Open files that are no connections: listener, engine, pipes, models that are read.
RESERVED_FILES = 64
# How long uvicorn waits for what is left when the draining is over.
GRACEFUL_S = 5


class DrainingServer(uvicorn.Server):
    """Refuses new work at the first signal, ends when what is in flight is answered, or at the second signal."""

    def __init__(self, config: uvicorn.Config, engine: Engine, metrics: Metrics, drain_timeout_s: float) -> None:
        super().__init__(config)
        self._engine = engine
        self._metrics = metrics
        self._drain_timeout_s = drain_timeout_s
        self._draining: asyncio.Future[None] | None = None

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn every tenth of a second: a process that nobody asks for metrics tells too how it is."""
        self._metrics.ready(self._engine.state())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal's handler."""
        if multiprocessing.parent_process() is not None and (sig == signal.SIGINT or self._draining is not None):
            # Ctrl-C and systemd's SIGTERM reach the whole group; the process that started us passes SIGTERM on again.
            return
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self._engine.drain()
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        # The port stays open meanwhile, so that /ready can say 503 and late requests get a clear answer.
        loop = asyncio.get_running_loop()
        end = loop.time() + self._drain_timeout_s
        while self._is_answering() and loop.time() < end:  # noqa: ASYNC110 (uvicorn tells nobody)
            await asyncio.sleep(DRAIN_POLL_S)
        self.should_exit = True

    def _is_answering(self) -> bool:
        # An answer that was written may still be on its way to a client that reads slowly.
        state = self.server_state
        return bool(state.tasks) or any(each.transport.get_write_buffer_size() for each in state.connections)


def make_server(config: Config, registry: ModelRegistry, engine: Engine) -> DrainingServer:
    """A server that is ready for serve(sockets)."""
    metrics = Metrics()
    app = create_app(config, registry, engine, metrics)
    settings = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        http=ConnectionPool(metrics, raise_file_limit() - RESERVED_FILES).connection_class(),
        ws="none",
        # Nothing here depends on the client's address, so no header is trusted to tell it.
        proxy_headers=False,
        # Longer than common clients and proxies keep an idle connection, so that it is they who close.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACEFUL_S,
    )
    # Each may hold a whole body as Python objects, and those that run Python wait for one another anyway.
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _read_keys_again, config.auth, app.state.keys)
    return DrainingServer(settings, engine, metrics, config.drain_timeout_s)


def _read_keys_again(auth: Auth, keys: Keys) -> None:
    try:
        keys.replace(read_keys(auth))
    except ConfigError as error:
        log.warning("the API keys stay as they were: %s", error)
    else:
        log.info("API keys read again: %d", len(keys))


def run_http(
    config: Config, engines: Sequence[EngineSettings], listener: socket, reason: "Connection[str, str]"
) -> None:
    """The main function of one of several HTTP processes."""
    set_up_logging(config.log_format)
    end_with_parent(engines[0].folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    factory = uvicorn.Config(app="", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(config, engines, listener))


async def _serve(config: Config, engines: Sequence[EngineSettings], listener: socket) -> None:
    registry = load_registry(config.models)
    async with remote_engines(engines, make_admission(config)) as engine:
        server = make_server(config, registry, engine)
        await server.serve([listener])
