"""Running the server: load what is configured, listen, serve, drain."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from models import ModelError
from server.app import create_app
from server.catalogue import Catalogue, load_catalogue
from server.config import Config
from server.engine import LocalEngine
from server.metrics import Metrics
from server.version import VERSION

log = logging.getLogger("hearth")


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[FastAPI, LocalEngine]]:
    """An app over an engine that lives as long as the block.

    Raises: ModelError, ConfigError.
    """
    metrics = Metrics()
    catalogue = load_catalogue(config.models)
    _say_models(catalogue)
    sources = {model.id: (model.text.info, model.config.load_options()) for model in catalogue.models}
    async with LocalEngine(sources, config.batching, _queue_tokens(config), metrics) as engine:
        yield create_app(config, catalogue, engine, metrics), engine


def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first.

    Raises: ModelError, ConfigError. SystemExit: the port is taken, or a model did not load.
    """
    # uvicorn raises the signal again when it has drained; without this the process would die of it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    factory = uvicorn.Config(app="", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(config))


async def _serve(config: Config) -> None:
    async with running(config) as (app, engine):
        server = _Server(
            uvicorn.Config(
                app,
                host=config.host,
                port=config.port,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                # Longer than common clients and proxies keep an idle connection, so that it is they who close.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=int(config.drain_timeout_s),
            )
        )
        watch = asyncio.ensure_future(_stop_on_failure(engine, server))
        try:
            await server.serve()
        finally:
            watch.cancel()
        state = engine.state()
        if state.phase == "failed":
            raise ModelError(state.reason)


async def _stop_on_failure(engine: LocalEngine, server: uvicorn.Server) -> None:
    # A lost device cannot be cured in this process: everyone waiting was told 503, and the supervisor starts anew.
    await engine.failure()
    server.should_exit = True


class _Server(uvicorn.Server):
    """Says where it listens, with the real port when 0 was asked for."""

    def _log_started_message(self, listeners: Iterable[object]) -> None:
        for server in self.servers:
            for listener in server.sockets:
                host, port = listener.getsockname()[:2]
                log.info("Hearth %s listens on http://%s:%d", VERSION, host, port)


def _say_models(catalogue: Catalogue) -> None:
    for model in catalogue.models:
        log.info("%s: %s, because %s", model.id, model.kind, model.text.info.kind_reason)


def _queue_tokens(config: Config) -> int:
    # Never below the largest request that is allowed, or that request could not be served at all.
    return max(config.batching.queue_tokens, config.limits.request_tokens, config.limits.rerank_tokens)
