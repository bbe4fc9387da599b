"""The ASGI application: every dialect's routes and the operator's routes, over one engine."""

from collections.abc import Iterable

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from server import VERSION
from server.api.auth import AuthMiddleware, Keys, open_paths, own_sites, read_keys
from server.api.dialects.cohere import Cohere, CohereV1
from server.api.dialects.fireworks import Fireworks
from server.api.dialects.nim import NIM
from server.api.dialects.openai import OPENAI_OR_TEI_ERROR, OpenAI, rerank_format
from server.api.dialects.protocol import ApiDialect, EmbeddingDialect, ErrorDialect, RerankDialect
from server.api.dialects.tei import TEI
from server.api.dialects.tei_tasks import ROOT_PATHS, Similarity
from server.api.dialects.vllm import VLLM
from server.api.middleware import TraceMiddleware
from server.api.openapi import HEADERS, ErrorShape, complete
from server.api.pages.page_routes import FILE_PATHS, PAGES, add_page_files, page_routes
from server.api.paths import PathMiddleware, PathTable
from server.api.request import BodyReader
from server.api.route_table import PlainRoute, Route, add_routes
from server.api.routes import embeddings_route, models_routes, rerank_route, root_route
from server.api.system_routes import system_routes
from server.api.tokenize_routes import tokenize_routes
from server.config import Config
from server.engine.client import Engine
from server.observability.metrics import Metrics
from server.processing.context import ServingContext
from server.processing.outputs.spaces import SpaceNames
from server.processing.work_queue import WorkQueue
from server.registry import ModelRegistry
from server.serialization import JsonObject

# A new dialect is added here. The order of API_DIALECTS matters: the first one whose prefix matches a path writes the
# errors of that path, so OpenAI, whose prefix matches every path, is the last.
API_DIALECTS: tuple[ApiDialect, ...] = (Fireworks(), OpenAI())
EMBEDDING_DIALECTS: tuple[EmbeddingDialect, ...] = (TEI(), Similarity(), Cohere(), CohereV1())
RERANK_DIALECTS: tuple[RerankDialect, ...] = (VLLM(), NIM())


class _App(FastAPI):
    """FastAPI with our components in its OpenAPI document."""

    def openapi(self) -> JsonObject:
        return complete(super().openapi(), _error_shapes(), self.state.root_path)


def _serving_context(config: Config, registry: ModelRegistry, engine: Engine) -> ServingContext:
    space_names = SpaceNames(registry.models, config.state_folder)
    return ServingContext(registry, engine, config.limits, WorkQueue(), space_names)


def create_app(
    config: Config, registry: ModelRegistry, engine: Engine, metrics: Metrics, keys: Keys | None = None
) -> FastAPI:
    """The ASGI application. The caller starts and stops the engine, which must run while requests arrive.

    Without `keys` they are read as configured.

    Raises: ConfigError: the API keys cannot be read.
    """
    # No docs_url: FastAPI's page loads its assets from another host, and this server works behind an air gap.
    app = _App(title="Hearth", version=VERSION, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.root_path = config.root_path
    app.state.keys = Keys(read_keys(config.auth)) if keys is None else keys
    app.state.routes = [
        *_api_routes(_serving_context(config, registry, engine), config),
        *system_routes(engine, metrics),
        *page_routes(f"{app.title} {app.version}", config.root_path),
    ]
    app.state.model_paths = frozenset(path for route in app.state.routes if route.runs_models for path in route.paths)
    # Routes of the application itself: a router that is included is searched twice for every request.
    app.router.route_class = PlainRoute
    add_routes(app.router, app.state.routes)
    add_page_files(app)
    _leave_errors_to_the_middleware(app)
    _add_middleware(app, config, metrics)
    return app


def path_table(routes: Iterable[Route]) -> PathTable:
    """What every path means, of the routes of an application."""
    methods: dict[str, set[str]] = {path: {"GET"} for path in PAGES}
    for route in routes:
        for path in route.paths:
            methods.setdefault(path, set()).add(route.method)
    bases = [base for dialect in API_DIALECTS for base in dialect.bases]
    own_bases = {dialect.prefix: dialect.bases[0] for dialect in API_DIALECTS if dialect.prefix != "/"}
    return PathTable(methods, bases, own_bases, mounts=FILE_PATHS)


def _add_middleware(app: FastAPI, config: Config, metrics: Metrics) -> None:
    # The last one added is the outermost. Keys are checked for the path as it was sent.
    paths = app.state.paths = path_table(app.state.routes)
    app.add_middleware(PathMiddleware, table=paths)
    app.add_middleware(AuthMiddleware, keys=app.state.keys, open_paths=open_paths(config.auth), sites=own_sites(config))
    app.add_middleware(
        TraceMiddleware, dialect_of=_dialect_of, paths=paths, metrics=metrics, root_path=config.root_path
    )
    if config.cors_origins:
        # Outermost, so that errors carry its headers too: without them a browser reports a network error, not a 401.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            # This server usually has an address of a private network, and the pages that call it may be public.
            allow_private_network=True,
            expose_headers=list(HEADERS),
        )


def _api_routes(serving: ServingContext, config: Config) -> list[Route]:
    bodies = BodyReader(config.limits, config.body_memory_bytes, serving.work)
    return [
        *(embeddings_route(dialect, serving, config, bodies) for dialect in (*API_DIALECTS, *EMBEDDING_DIALECTS)),
        *(_rerank_route(dialect, serving, config, bodies) for dialect in (*API_DIALECTS, *RERANK_DIALECTS)),
        root_route(serving, config, bodies),
        *tokenize_routes(serving, config, bodies),
        *(route for api in API_DIALECTS for route in models_routes(api, serving)),
    ]


def _rerank_route(dialect: RerankDialect, serving: ServingContext, config: Config, bodies: BodyReader) -> Route:
    # OpenAI's paths accept TEI's bodies too.
    choose_format = rerank_format if isinstance(dialect, OpenAI) else None
    return rerank_route(dialect, serving, config, bodies, choose_format)


def _error_shapes() -> list[ErrorShape]:
    dialects = (*API_DIALECTS, *EMBEDDING_DIALECTS, *RERANK_DIALECTS)
    return [*(dialect.error_shape for dialect in dialects), OPENAI_OR_TEI_ERROR]


def _dialect_of(path: str) -> ApiDialect:
    # The last one also for what is no path: `OPTIONS *`.
    return next((dialect for dialect in API_DIALECTS if path.startswith(dialect.prefix)), API_DIALECTS[-1])


def dialect_at(path: str) -> ErrorDialect:
    """The dialect in which errors of a path are written while nothing else is known of the request."""
    for embedding_dialect in EMBEDDING_DIALECTS:
        if path in embedding_dialect.embeddings_paths:
            return embedding_dialect
    for rerank_dialect in RERANK_DIALECTS:
        if path in rerank_dialect.rerank_paths:
            return rerank_dialect
    return TEI() if path in ROOT_PATHS else _dialect_of(path)


def _leave_errors_to_the_middleware(app: FastAPI) -> None:
    async def raise_again(request: Request, error: Exception) -> None:
        raise error

    app.exception_handlers.clear()
    app.add_exception_handler(HTTPException, raise_again)  # type: ignore[arg-type]
