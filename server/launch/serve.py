"""Running the server: an engine process, HTTP here or in processes of its own, and an orderly end."""

import asyncio
import logging
import signal
import socket as socket_options
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, IPPROTO_TCP, create_server, socket

import uvicorn

from models import ModelError
from server import VERSION
from server.api.auth import read_keys
from server.config import Config, ConfigError
from server.engine.admission import make_admission
from server.launch.engine_process import EngineSettings, by_device, run_engine
from server.launch.http_worker import GRACEFUL_S, make_server, remote_engines, run_http
from server.launch.supervisor import GaveUp, Supervised
from server.registry import ModelRegistry, load_registry

log = logging.getLogger("hearth")

BACKLOG = 2048
# A client that reads nothing of its answer for so long is cut off, so that its answer is not held for ever.
READ_NOTHING_S = 120


def serve(config: Config, folder: Path) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first. `folder` is this server's own.

    Raises: ModelError, ConfigError.
    """
    registry = load_registry(config.models)
    keys = read_keys(config.auth)
    with _listen(config) as listener:
        engines = _engine_settings(config, registry, folder)
        for model in registry.models:
            log.info("%s: %s, because %s", model.id, model.kind, model.preprocessor.info.kind_reason)
            unasked = model.preprocessor.prompts.default_name
            if unasked and model.kind != "reranker" and model.config.prompt_name is None:
                log.warning("%s: its prompt %r is added only where prompt_name asks for it", model.id, unasked)
        if not keys:
            log.warning("no API keys are configured: everybody who reaches this port may use it")
        host, port = listener.getsockname()[:2]
        log.info("Hearth %s listens on http://%s:%d", VERSION, host, port)
        in_workers = config.workers > 1
        _run(
            _serve_in_workers(config, engines, listener)
            if in_workers
            else _serve_here(config, registry, engines, listener)
        )


async def _serve_here(
    config: Config, registry: ModelRegistry, engines: Sequence[EngineSettings], listener: socket
) -> None:
    async with remote_engines(engines, make_admission(config)) as engine:
        server = make_server(config, registry, engine)
        keeping = _keep(engines)
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.wait({*keeping, serving}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            # A device that is lost for good cannot be cured here: whoever waited for it was told 503, what runs on
            # others is answered, and whoever supervises us starts anew.
            server.handle_exit(signal.SIGTERM, None)
        await serving
        await _end(keeping)


async def _serve_in_workers(config: Config, engines: Sequence[EngineSettings], listener: socket) -> None:
    keeping = _keep(engines)
    grace_s = config.drain_timeout_s + 2 * GRACEFUL_S
    https = [Supervised("http", run_http, config, engines, listener, grace_s=grace_s) for _ in range(config.workers)]
    workers = [asyncio.create_task(http.keep()) for http in https]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: _send_all(https, signal.SIGHUP))
    await asyncio.wait({*keeping, stopped, *workers}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    # HTTP first: what is in flight needs the engine.
    await _end(workers)
    await _end(keeping)


def _keep(engines: Sequence[EngineSettings]) -> list[asyncio.Task[None]]:
    # An engine ends when nobody needs it any more, and has nothing to finish.
    return [asyncio.create_task(Supervised("engine", run_engine, each, grace_s=0).keep()) for each in engines]


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, GaveUp):
            raise ModelError(str(outcome))
        if isinstance(outcome, Exception):
            raise outcome


def _run(main: Coroutine[None, None, None]) -> None:
    factory = uvicorn.Config(app="", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


@contextmanager
def _listen(config: Config) -> Iterator[socket]:
    family = AF_INET6 if ":" in config.host else AF_INET
    try:
        listener = create_server((config.host, config.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {config.host}:{config.port}: {error.strerror}") from error
    with listener:
        if hasattr(socket_options, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
            listener.setsockopt(IPPROTO_TCP, socket_options.TCP_USER_TIMEOUT, READ_NOTHING_S * 1000)
        yield listener


def _engine_settings(config: Config, registry: ModelRegistry, folder: Path) -> list[EngineSettings]:
    sources = [
        {each.id: (each.preprocessor.info, each.config.load_options(device)) for each in models}
        for device, models in by_device(registry.models).items()
    ]
    batching, log_format, timeout_s = config.batching, config.log_format, config.request_timeout_s
    return [EngineSettings(folder, each, batching, log_format, timeout_s, n) for n, each in enumerate(sources)]


def _send_all(processes: list[Supervised], number: int) -> None:
    for process in processes:
        process.send(number)
