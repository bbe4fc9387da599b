"""The application: doors and operators' routes over one engine."""

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from server import VERSION
from server.api.auth import AuthMiddleware, Keys, open_paths, read_keys
from server.api.dialects.cohere import Cohere, CohereV1
from server.api.dialects.fireworks import Fireworks
from server.api.dialects.openai import OpenAI
from server.api.dialects.protocol import ApiDialect, EmbeddingDialect, RerankDialect
from server.api.dialects.tei import TEI
from server.api.dialects.vllm import VLLM
from server.api.middleware import TraceMiddleware
from server.api.openapi import HEADERS, JsonObject, complete
from server.api.routes import PlainRoute, add_embeddings, add_models, add_rerank
from server.api.system_routes import add_pages, add_system
from server.api.tokenize_routes import add_tokenizing
from server.config import Config
from server.engine.client import Engine
from server.observability.metrics import Metrics
from server.processing.context import ServingContext
from server.registry import ModelRegistry


class _App(FastAPI):
    """FastAPI with our own components in its OpenAPI document."""

    def openapi(self) -> JsonObject:
        return complete(super().openapi())


def create_app(config: Config, registry: ModelRegistry, engine: Engine, metrics: Metrics) -> FastAPI:
    """The ASGI application. The engine's life is the caller's: it must run while requests come in.

    Raises: ConfigError: the keys cannot be read.
    """
    # No docs_url: FastAPI's page loads its assets from another host, and this server works behind an air gap.
    app = _App(title="Hearth", version=VERSION, docs_url=None, redoc_url=None, redirect_slashes=False)
    service = ServingContext(registry, engine, config.limits)
    doors: tuple[ApiDialect, ...] = (Fireworks(), OpenAI())
    # Routes of the application itself: a router that is included is searched twice for every request.
    app.router.route_class = PlainRoute
    _add_routes(app.router, doors, service, config)
    add_system(app.router, engine, metrics)
    app.router.route_class = APIRoute
    add_pages(app)
    _leave_errors_to_the_middleware(app)
    # The last one added is the outermost.
    app.state.keys = Keys(read_keys(config.auth))
    app.add_middleware(AuthMiddleware, keys=app.state.keys, open_paths=open_paths(config.auth))
    app.add_middleware(TraceMiddleware, door=lambda path: _door(doors, path), metrics=metrics)
    if config.cors_origins:
        # Outermost, so that errors carry its headers too: without them a browser shows no 401, but a network error.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=list(HEADERS),
        )
    return app


def _add_routes(router: APIRouter, doors: tuple[ApiDialect, ...], service: ServingContext, config: Config) -> None:
    embeds: tuple[EmbeddingDialect, ...] = (*doors, TEI(), Cohere(), CohereV1())
    for dialect in embeds:
        add_embeddings(router, dialect, service, config)
    reranks: tuple[RerankDialect, ...] = (*doors, VLLM())
    for ranking in reranks:
        add_rerank(router, ranking, service, config)
    add_tokenizing(router, service, config)
    for door in doors:
        add_models(router, door, service)


def _door(doors: tuple[ApiDialect, ...], path: str) -> ApiDialect:
    return next(door for door in doors if path.startswith(door.prefix))


def _leave_errors_to_the_middleware(app: FastAPI) -> None:
    async def raise_again(request: Request, error: Exception) -> None:
        raise error

    from starlette.exceptions import HTTPException

    app.exception_handlers.clear()
    app.add_exception_handler(HTTPException, raise_again)  # type: ignore[arg-type]
