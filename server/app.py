"""The application: doors and operators' routes over one engine."""

from fastapi import FastAPI, Request

from server.auth import AuthMiddleware, open_paths, read_keys
from server.catalogue import Catalogue
from server.config import Config
from server.dialects.fireworks import Fireworks
from server.dialects.openai import OpenAI
from server.dialects.reply import Dialect
from server.engine import Engine
from server.metrics import Metrics
from server.middleware import TraceMiddleware
from server.routes import make_router
from server.service import Service
from server.system import make_router as make_system_router
from server.version import VERSION


def create_app(config: Config, catalogue: Catalogue, engine: Engine, metrics: Metrics) -> FastAPI:
    """The ASGI application. The engine's life is the caller's: it must run while requests come in.

    Raises: ConfigError: the keys cannot be read.
    """
    # No docs_url: FastAPI's page loads its assets from another host, and this server works behind an air gap.
    app = FastAPI(title="Hearth", version=VERSION, docs_url=None, redoc_url=None, redirect_slashes=False)
    service = Service(catalogue, engine, config.limits)
    doors: tuple[Dialect, ...] = (Fireworks(), OpenAI())
    for dialect in doors:
        app.include_router(make_router(dialect, service, config))
    app.include_router(make_system_router(engine, metrics))
    _leave_errors_to_the_middleware(app)
    # The last one added is the outermost.
    app.add_middleware(AuthMiddleware, keys=read_keys(config.auth), open_paths=open_paths(config.auth))
    app.add_middleware(TraceMiddleware, door=lambda path: _door(doors, path), metrics=metrics)
    return app


def _door(doors: tuple[Dialect, ...], path: str) -> Dialect:
    return next(door for door in doors if path.startswith(door.prefix))


def _leave_errors_to_the_middleware(app: FastAPI) -> None:
    async def raise_again(request: Request, error: Exception) -> None:
        raise error

    from starlette.exceptions import HTTPException

    app.exception_handlers.clear()
    app.add_exception_handler(HTTPException, raise_again)  # type: ignore[arg-type]
