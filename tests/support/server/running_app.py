"""The application with its engine in a thread of the same process, for tests and tools of this repository.

Other programs should run `hearth serve`, installed into an environment of its own: `server` and `models` are import
names that other packages may use too.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from server.api.app import create_app
from server.config import Config, ConfigError
from server.engine.admission import make_admission
from server.engine.scheduler import Scheduler
from server.launch.engine_process import by_device, load_models, make_limits
from server.observability.metrics import Metrics
from server.registry import load_registry
from tests.support.server.in_process_engine import InProcessEngine


@asynccontextmanager
async def running_app(config: Config) -> AsyncIterator[FastAPI]:
    """An ASGI application that serves requests inside this block.

    The engine starts and ends with the block, because Starlette does not run the lifespan of a mounted application.

    Raises: ModelError, ConfigError.
    """
    metrics = Metrics()
    registry = load_registry(config.models)
    if len(devices := by_device(registry.models)) > 1:
        raise ConfigError(
            f"running_app supports one device, and the models use {', '.join(devices)}; use `hearth serve` for several"
        )
    sources = {model.id: (model.preprocessor.info, model.config.load_options()) for model in registry.models}

    def make_scheduler() -> Scheduler:
        backends = load_models(sources)
        return Scheduler(backends, make_limits(config.batching, backends), metrics.batch)

    async with InProcessEngine(make_scheduler, make_admission(config)) as engine:
        yield create_app(config, registry, engine, metrics)
