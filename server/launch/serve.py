"""`hearth serve`: starts an engine process for each device, serves HTTP here or in workers, and ends them in order."""

import asyncio
import logging
import os
import signal
import socket as socket_options
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, IPPROTO_TCP, create_server, has_dualstack_ipv6, socket

from models import ModelError
from server.api.auth import Keys, read_keys
from server.config import Config, ConfigError
from server.engine.admission import make_admission
from server.engine.status_page import status_memory
from server.launch.announcements import log_start, ready_line, tell_systemd
from server.launch.engine_process import EngineSettings, by_device, run_engine
from server.launch.http_worker import (
    GRACEFUL_S,
    LONGEST_SILENCE_S,
    Listeners,
    make_server,
    reload_keys,
    remote_engines,
    run_event_loop,
    run_http,
)
from server.launch.supervisor import GaveUp, Supervised
from server.launch.working_folder import working_folder
from server.observability.log_queue import QueuedLog
from server.observability.logs import failures_logged, set_up_logging
from server.observability.metrics import Metrics, metrics_memory
from server.registry import ModelRegistry, load_registry

log = logging.getLogger("hearth")

BACKLOG = 2048
PROBE_BACKLOG = 64
# A client that reads nothing of its response for this long is disconnected, so that the response can be freed.
UNREAD_TIMEOUT_S = 120


def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then finish the running requests.

    Raises: ModelError, ConfigError.
    """
    lines = set_up_logging(config.log_format, config.log_level)
    try:
        with failures_logged("main", ConfigError, ModelError), working_folder() as folder:
            _serve(config, folder, lines)
        log.info("stopped")
    finally:
        # Before an error is printed.
        lines.flush()


def _serve(config: Config, folder: Path, lines: QueuedLog) -> None:
    registry = load_registry(config.models, config.state_folder)
    keys = Keys(read_keys(config.auth))
    has_keys = bool(keys)
    with _listen(config) as listeners:
        engines = _engine_settings(config, registry, folder)
        log_start(registry, listeners.main, has_keys=has_keys)
        announcement = ready_line(registry, listeners.main, has_keys=has_keys)
        metrics = Metrics(metrics_memory(1 + len(engines) + config.workers))
        lines.dropped = metrics.log_lines_dropped
        main = _serve_in_workers if config.workers > 1 else _serve_here
        serving = main(config, registry, keys, engines, listeners, announcement, metrics)
        # Not for the processes that are started.
        run_event_loop(_tell_systemd_while(serving, os.environ.pop("NOTIFY_SOCKET", "")))


async def _tell_systemd_while(serving: Coroutine[None, None, None], address: str) -> None:
    telling = asyncio.create_task(tell_systemd(address))
    await serving
    telling.cancel()


async def _serve_here(
    config: Config,
    registry: ModelRegistry,
    keys: Keys,
    engines: Sequence[EngineSettings],
    listeners: Listeners,
    announcement: str,
    metrics: Metrics,
) -> None:
    async with remote_engines(engines, make_admission(config)) as engine:
        server = make_server(config, registry, keys, engine, metrics, announcement, listeners.probes)
        keeping = _keep(engines, metrics)
        serving = asyncio.create_task(server.serve([listeners.main]))
        await asyncio.wait({*keeping, serving}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            # An engine was given up, for example because its device is lost. Its requests got 503; requests on other
            # devices are finished, and the exit lets this server's own supervisor start it anew.
            server.handle_exit(signal.SIGTERM, None)
        await serving
        await _end(keeping)


async def _serve_in_workers(
    config: Config,
    registry: ModelRegistry,
    keys: Keys,
    engines: Sequence[EngineSettings],
    listeners: Listeners,
    announcement: str,
    metrics: Metrics,
) -> None:
    keeping = _keep(engines, metrics)
    workers = []
    for number in range(config.workers):
        own, status = metrics.of_process(1 + len(engines) + number), status_memory()
        # One worker speaks for all.
        line = announcement if number == 0 else ""
        worker = Supervised(
            *("http", run_http, config, registry, keys, engines, listeners, line, own, status),
            metrics=metrics,
            child_metrics=own,
            grace_s=config.drain_timeout_s + 2 * GRACEFUL_S,
            status=status,
            silence_s=LONGEST_SILENCE_S,
        )
        workers.append(worker)
    serving = [asyncio.create_task(worker.keep()) for worker in workers]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload_in_all, config, keys, workers)
    await asyncio.wait({*keeping, stopped, *serving}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    log.info("draining: the requests in progress have %g s", config.drain_timeout_s)
    # HTTP first: the running requests need the engines.
    await _end(serving)
    await _end(keeping)


def _keep(engines: Sequence[EngineSettings], metrics: Metrics) -> list[asyncio.Task[None]]:
    tasks = []
    for number, engine in enumerate(engines, 1):
        own = metrics.of_process(number)
        # Without grace: HTTP has ended before the engines are stopped, so that they have nothing to finish.
        supervised = Supervised(
            "engine", run_engine, engine, own, metrics=metrics, child_metrics=own, grace_s=0, status=engine.status
        )
        tasks.append(asyncio.create_task(supervised.keep()))
    return tasks


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, GaveUp):
            raise ModelError(str(outcome))
        if isinstance(outcome, Exception):
            raise outcome


@contextmanager
def _listen(config: Config) -> Iterator[Listeners]:
    with ExitStack() as stack:
        listener = stack.enter_context(_listener(config.host, config.port, BACKLOG))
        probes = None
        if config.probe_port is not None:
            probes = stack.enter_context(_listener(config.host, config.probe_port, PROBE_BACKLOG))
        if hasattr(socket_options, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
            listener.setsockopt(IPPROTO_TCP, socket_options.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_S * 1000)
        yield Listeners(listener, probes)


def _listener(host: str, port: int, backlog: int) -> socket:
    family = AF_INET6 if ":" in host else AF_INET
    # Python makes an IPv6 socket refuse IPv4, whatever the system does by default.
    is_dual = host == "::" and has_dualstack_ipv6()
    try:
        return create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=is_dual)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def _engine_settings(config: Config, registry: ModelRegistry, folder: Path) -> list[EngineSettings]:
    sources = [
        {model.id: (model.preprocessor.info, model.config.load_options(device)) for model in models}
        for device, models in by_device(registry.models, auto="cuda" if config.require_gpu else "auto").items()
    ]
    return [
        EngineSettings(
            folder,
            models,
            config.batching,
            config.log_format,
            config.log_level,
            number,
            gpu_memory=config.gpu_memory,
        )
        for number, models in enumerate(sources)
    ]


def _reload_in_all(config: Config, keys: Keys, workers: list[Supervised]) -> None:
    # Here too: a worker that is started again gets these keys.
    reload_keys(config.auth, keys)
    for worker in workers:
        worker.send(signal.SIGHUP)
