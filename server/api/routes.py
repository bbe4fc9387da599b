"""The routes of a dialect: read, parse, process, write. Errors are raised; the middleware answers them."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from server.api import openapi
from server.api.dialects.protocol import (
    ApiDialect,
    EmbeddingDialect,
    ParsedRerank,
    Reply,
    RerankDialect,
    RerankFormat,
)
from server.api.middleware import SCOPE_DIALECT
from server.api.request import parse_body, read_body, request_context
from server.config import Config
from server.processing.context import ServingContext
from server.processing.embed import embed
from server.processing.rerank import rerank
from server.registry import ServedModel
from server.serialization import JsonObject, dump

# Larger results are written in a thread: 512 vectors of 1,024 take about 10 ms.
WRITE_IN_THREAD_FLOATS = 256 * 1024
# Fireworks' kinds of model (fireworks-ai 0.19.20, class Model).
LISTED_KINDS = {"embedder": "EMBEDDING_MODEL", "reranker": "RERANKER_MODEL", "llm": "HF_BASE_MODEL"}

LISTED_MODEL = openapi.closed_object(
    {"hearth": {"type": "object", "description": "How Hearth runs the model. Only under the OpenAI base URL."}},
    id=openapi.STRING,
    object=openapi.STRING,
    created=openapi.INTEGER,
    owned_by=openapi.STRING,
    kind=openapi.STRING,
    supports_chat=openapi.BOOLEAN,
    supports_image_input=openapi.BOOLEAN,
    supports_tools=openapi.BOOLEAN,
    context_length=openapi.INTEGER,
)
LISTED_MODELS = openapi.closed_object(object=openapi.STRING, data=openapi.array(LISTED_MODEL))
MODEL_PARAMETER: JsonObject = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "The model's id, an alias or any of the spellings that clients use. Slashes may be raw or encoded.",
    "schema": openapi.STRING,
}

Handler = Callable[[Request], Awaitable[Response]]


class PlainRoute(APIRoute):
    """A route that FastAPI only documents: it skips FastAPI's own parsing and serialisation."""

    def __init__(self, path: str, endpoint: Handler, **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = answer


def add_embeddings(router: APIRouter, dialect: EmbeddingDialect, serving: ServingContext, config: Config) -> None:
    """Add the dialect's paths for vectors and logits."""

    async def embeddings(request: Request) -> Response:
        request.scope[SCOPE_DIALECT] = dialect
        # Before the body is read, so that a request that will be refused takes no memory.
        serving.engine.check_open()
        body = await read_body(request, config.limits)
        parsed = await parse_body(body, dialect.parse_embeddings)
        context = request_context(request, config, len(body))
        result = await embed(parsed.request, serving, context)
        with context.trace.stage("write"):
            if result.rows.size < WRITE_IN_THREAD_FLOATS:
                return _response(dialect.write_embeddings(parsed, result, context.trace))
            return _response(await to_thread.run_sync(dialect.write_embeddings, parsed, result, context.trace))

    for path in dialect.embeddings_paths:
        router.add_api_route(path, embeddings, methods=["POST"], openapi_extra=dialect.document_embeddings(), name=path)


def add_rerank(
    router: APIRouter,
    dialect: RerankDialect,
    serving: ServingContext,
    config: Config,
    choose_format: Callable[[JsonObject], RerankFormat] | None = None,
) -> None:
    """Add the dialect's paths for scores; `choose_format` finds the format of a body where they accept several."""

    async def rerank_documents(request: Request) -> Response:
        def parse(body: JsonObject) -> tuple[RerankFormat, ParsedRerank]:
            rerank_format = choose_format(body) if choose_format else dialect
            # Before parsing: errors in the body are written in its format.
            request.scope[SCOPE_DIALECT] = rerank_format
            return rerank_format, rerank_format.parse_rerank(body)

        serving.engine.check_open()
        body = await read_body(request, config.limits)
        rerank_format, parsed = await parse_body(body, parse)
        context = request_context(request, config, len(body))
        result = await rerank(parsed.request, serving, context)
        with context.trace.stage("write"):
            return _response(rerank_format.write_rerank(parsed, result, context.trace))

    for path in dialect.rerank_paths:
        router.add_api_route(
            path, rerank_documents, methods=["POST"], openapi_extra=dialect.document_rerank(), name=path
        )


def add_models(router: APIRouter, dialect: ApiDialect, serving: ServingContext) -> None:
    """Add the dialect's paths for the list of models and for each model."""
    group, error = dialect.group, dialect.error_shape
    for path in dialect.models_paths:
        extra = openapi.operation("The served models", group, error, LISTED_MODELS)
        router.add_api_route(path, _models(dialect, serving), methods=["GET"], openapi_extra=extra, name=path)
        model_path = f"{path}/{{model:path}}"
        extra = openapi.operation("One served model", group, error, LISTED_MODEL) | {"parameters": [MODEL_PARAMETER]}
        router.add_api_route(
            model_path, _model(dialect, serving), methods=["GET"], openapi_extra=extra, name=model_path
        )


def _models(dialect: ApiDialect, serving: ServingContext) -> Handler:
    async def models(request: Request) -> Response:
        served = serving.registry.models
        listed = [_listed(dialect, serving, model, name) for model in served for name in model.names]
        return _response(Reply(dump({"object": "list", "data": listed})))

    return models


def _model(dialect: ApiDialect, serving: ServingContext) -> Handler:
    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        served = serving.registry.find(name, "embedder")
        return _response(Reply(dump(_listed(dialect, serving, served, name))))

    return model


def _listed(dialect: ApiDialect, serving: ServingContext, model: ServedModel, name: str) -> JsonObject:
    listed = {
        "id": name,
        "object": "model",
        "created": serving.registry.created,
        "owned_by": "hearth",
        "kind": LISTED_KINDS[model.kind],
        "supports_chat": False,
        "supports_image_input": False,
        "supports_tools": False,
        "context_length": model.preprocessor.info.max_tokens,
    }
    return dialect.write_model(listed, _details(serving, model))


def _details(serving: ServingContext, model: ServedModel) -> JsonObject:
    info, backend = model.preprocessor.info, serving.engine.info.get(model.id)
    details = {
        "kind": model.kind,
        "kind_reason": info.kind_reason,
        "architecture": info.architecture,
        # A classifier pools nothing into a vector, and what the library's own modules do is not known.
        "pooling": None if info.classifier else "modules" if info.library_modules else info.pooling,
        "dimensions": info.width,
        "prompts": list(model.preprocessor.prompts.by_name),
    }
    # The backend is not known while the model is loading.
    return details | (asdict(backend) if backend else {})


def _response(reply: Reply) -> Response:
    return Response(reply.body, headers=dict(reply.headers), media_type=reply.media_type)
