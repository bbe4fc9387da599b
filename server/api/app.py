"""The ASGI application: every dialect's routes and the operator's routes, over one engine."""

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from server import VERSION
from server.api.auth import AuthMiddleware, Keys, open_paths, read_keys
from server.api.dialects.cohere import Cohere, CohereV1
from server.api.dialects.fireworks import Fireworks
from server.api.dialects.openai import OPENAI_OR_TEI_ERROR, OpenAI, rerank_format
from server.api.dialects.protocol import ApiDialect, EmbeddingDialect, RerankDialect
from server.api.dialects.tei import TEI
from server.api.dialects.vllm import VLLM
from server.api.middleware import TraceMiddleware
from server.api.openapi import HEADERS, ErrorShape, complete
from server.api.routes import PlainRoute, add_embeddings, add_models, add_rerank
from server.api.system_routes import add_pages, add_system
from server.api.tokenize_routes import add_tokenizing
from server.config import Config
from server.engine.client import Engine
from server.observability.metrics import Metrics
from server.processing.context import ServingContext
from server.registry import ModelRegistry
from server.serialization import JsonObject

# A new dialect is added here. The order of API_DIALECTS matters: the first one whose prefix matches a path writes the
# errors of that path, so OpenAI, whose prefix matches every path, is the last.
API_DIALECTS: tuple[ApiDialect, ...] = (Fireworks(), OpenAI())
EMBEDDING_DIALECTS: tuple[EmbeddingDialect, ...] = (TEI(), Cohere(), CohereV1())
RERANK_DIALECTS: tuple[RerankDialect, ...] = (VLLM(),)


class _App(FastAPI):
    """FastAPI with our components in its OpenAPI document."""

    def openapi(self) -> JsonObject:
        return complete(super().openapi(), _error_shapes())


def create_app(config: Config, registry: ModelRegistry, engine: Engine, metrics: Metrics) -> FastAPI:
    """The ASGI application. The caller starts and stops the engine, which must run while requests arrive.

    Raises: ConfigError: the API keys cannot be read.
    """
    # No docs_url: FastAPI's page loads its assets from another host, and this server works behind an air gap.
    app = _App(title="Hearth", version=VERSION, docs_url=None, redoc_url=None, redirect_slashes=False)
    # Routes of the application itself: a router that is included is searched twice for every request.
    app.router.route_class = PlainRoute
    _add_routes(app.router, ServingContext(registry, engine, config.limits), config)
    add_system(app.router, engine, metrics)
    app.router.route_class = APIRoute
    add_pages(app)
    _leave_errors_to_the_middleware(app)
    # The last one added is the outermost.
    app.state.keys = Keys(read_keys(config.auth))
    app.add_middleware(AuthMiddleware, keys=app.state.keys, open_paths=open_paths(config.auth))
    app.add_middleware(TraceMiddleware, dialect_of=_dialect_of, metrics=metrics)
    if config.cors_origins:
        # Outermost, so that errors carry its headers too: without them a browser reports a network error, not a 401.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=list(HEADERS),
        )
    return app


def _add_routes(router: APIRouter, serving: ServingContext, config: Config) -> None:
    for embedding in (*API_DIALECTS, *EMBEDDING_DIALECTS):
        add_embeddings(router, embedding, serving, config)
    for reranking in (*API_DIALECTS, *RERANK_DIALECTS):
        # OpenAI's paths accept TEI's bodies too.
        choose_format = rerank_format if isinstance(reranking, OpenAI) else None
        add_rerank(router, reranking, serving, config, choose_format)
    add_tokenizing(router, serving, config)
    for api in API_DIALECTS:
        add_models(router, api, serving)


def _error_shapes() -> list[ErrorShape]:
    dialects = (*API_DIALECTS, *EMBEDDING_DIALECTS, *RERANK_DIALECTS)
    return [*(dialect.error_shape for dialect in dialects), OPENAI_OR_TEI_ERROR]


def _dialect_of(path: str) -> ApiDialect:
    return next(dialect for dialect in API_DIALECTS if path.startswith(dialect.prefix))


def _leave_errors_to_the_middleware(app: FastAPI) -> None:
    async def raise_again(request: Request, error: Exception) -> None:
        raise error

    app.exception_handlers.clear()
    app.add_exception_handler(HTTPException, raise_again)  # type: ignore[arg-type]
