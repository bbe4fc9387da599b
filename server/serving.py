"""Running the server: an engine process, HTTP here or in processes of its own, and an orderly end."""

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, create_server, socket

import uvicorn

from models import ModelError
from server.admission import make_admission
from server.auth import read_keys
from server.catalogue import Catalogue, load_catalogue
from server.config import Config, ConfigError
from server.engine_process import EngineSettings, run_engine
from server.http_process import make_server, run_http
from server.remote import RemoteEngine
from server.supervisor import GaveUp, Supervised
from server.version import VERSION

log = logging.getLogger("hearth")

BACKLOG = 2048


def serve(config: Config, folder: Path) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first. `folder` is this server's own.

    Raises: ModelError, ConfigError.
    """
    catalogue = load_catalogue(config.models)
    keys = read_keys(config.auth)
    with _listen(config) as listener:
        settings = _engine_settings(config, catalogue, folder)
        for model in catalogue.models:
            log.info("%s: %s, because %s", model.id, model.kind, model.text.info.kind_reason)
            if model.kind != "reranker" and (unasked := model.text.prompts.default_name):
                log.warning("%s: its prompt %r is added only where prompt_name asks for it", model.id, unasked)
        if not keys:
            log.warning("no API keys are configured: everybody who reaches this port may use it")
        host, port = listener.getsockname()[:2]
        log.info("Hearth %s listens on http://%s:%d", VERSION, host, port)
        in_workers = config.workers > 1
        _run(
            _serve_in_workers(config, settings, listener)
            if in_workers
            else _serve_here(config, catalogue, settings, listener)
        )


async def _serve_here(config: Config, catalogue: Catalogue, settings: EngineSettings, listener: socket) -> None:
    async with RemoteEngine(settings.address, make_admission(config)) as engine:
        server = make_server(config, catalogue, engine)
        keep = asyncio.create_task(_keep_engine(settings))
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.wait({keep, serving}, return_when=asyncio.FIRST_COMPLETED)
        if keep.done() and not serving.done():
            # A lost device cannot be cured here: everyone waiting is told 503, and whoever supervises us starts anew.
            engine.fail(str(keep.exception()))
            server.should_exit = True
        await serving
        await _end([keep])


async def _serve_in_workers(config: Config, settings: EngineSettings, listener: socket) -> None:
    engine = asyncio.create_task(_keep_engine(settings))
    grace_s = config.drain_timeout_s + 5
    https = [Supervised("http", run_http, config, settings, listener, grace_s=grace_s) for _ in range(config.workers)]
    workers = [asyncio.create_task(http.keep()) for http in https]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: _send_all(https, signal.SIGHUP))
    await asyncio.wait({engine, stopped, *workers}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    # HTTP first: what is in flight needs the engine.
    await _end(workers)
    await _end([engine])


async def _keep_engine(settings: EngineSettings) -> None:
    # It ends when nobody needs it any more, and has nothing to finish.
    await Supervised("engine", run_engine, settings, grace_s=0).keep()


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
        yield listener


def _engine_settings(config: Config, catalogue: Catalogue, folder: Path) -> EngineSettings:
    sources = {model.id: (model.text.info, model.config.load_options()) for model in catalogue.models}
    return EngineSettings(folder, sources, config.batching, config.log_format, config.request_timeout_s)


def _send_all(processes: list[Supervised], number: int) -> None:
    for process in processes:
        process.send(number)
