"""Hearth inside a program of one's own: an app over an engine in a thread, with no process beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from server.api.app import create_app
from server.config import Config, ConfigError
from server.engine.admission import make_admission
from server.engine.in_process import InProcessEngine
from server.engine.scheduler import Scheduler
from server.launch.engine_process import by_device, load, make_limits
from server.observability.metrics import Metrics
from server.registry import load_registry


@asynccontextmanager
async def running_app(config: Config) -> AsyncIterator[FastAPI]:
    """An ASGI app that serves within the block; mount it, or give it to a server of your own.

    A mounted app's lifespan does not run (Starlette), so the engine's life is this block's. Its batches share the
    interpreter with everything else in the process: `hearth serve` keeps them apart.

    Raises: ModelError, ConfigError.
    """
    metrics = Metrics()
    registry = load_registry(config.models)
    if len(devices := by_device(registry.models)) > 1:
        raise ConfigError(
            f"models share one device inside another program; `hearth serve` takes several: {list(devices)}"
        )
    sources = {model.id: (model.preprocessor.info, model.config.load_options()) for model in registry.models}

    def make_worker() -> Scheduler:
        backends = load(sources)
        return Scheduler(backends, make_limits(config.batching, backends), metrics.batch)

    async with InProcessEngine(make_worker, make_admission(config)) as engine:
        yield create_app(config, registry, engine, metrics)
