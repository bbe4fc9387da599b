"""The routes of one dialect: read, parse, carry out, write. Errors are raised, never answered here."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from server.api.dialects.parsing import JsonObject
from server.api.dialects.protocol import ApiDialect, EmbeddingDialect, ParsedRerank, Reply, RerankDialect
from server.api.middleware import SCOPE_DIALECT
from server.api.openapi import LISTED_MODEL, LISTED_MODELS, STRING, operation
from server.api.request import _caller, parsed, read_body
from server.config import Config
from server.processing.context import ServingContext
from server.processing.embed import embed
from server.processing.rerank import rerank
from server.registry import ServedModel
from server.serialization import dump

# 512 vectors of 1,024 take about 10 ms to write.
WRITE_IN_THREAD_FLOATS = 256 * 1024
# Fireworks' kinds of model (fireworks-ai 0.19.20, class Model).
LISTED_KINDS = {"embedder": "EMBEDDING_MODEL", "reranker": "RERANKER_MODEL", "llm": "HF_BASE_MODEL"}

MODEL_PARAMETER: JsonObject = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "Its id, an alias or any of the spellings that clients use; slashes raw or encoded.",
    "schema": STRING,
}

Handler = Callable[[Request], Awaitable[Response]]


class PlainRoute(APIRoute):
    """A route whose handler takes the request and gives the response: FastAPI describes it, no more."""

    def __init__(self, path: str, endpoint: Handler, **described: Any) -> None:
        super().__init__(path, endpoint, **described)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = answer


def add_embeddings(router: APIRouter, dialect: EmbeddingDialect, service: ServingContext, config: Config) -> None:
    """Vectors and logits, on every path that the dialect names."""

    async def embeddings(request: Request) -> Response:
        request.scope[SCOPE_DIALECT] = dialect
        # Before the body: what is refused anyway is not to be held in memory first.
        service.engine.check_open()
        body = await read_body(request, config.limits)
        asked = await parsed(body, dialect.parse_embeddings)
        caller = _caller(request, config, len(body))
        result = await embed(asked.call, service, caller)
        with caller.trace.stage("write"):
            if result.rows.size < WRITE_IN_THREAD_FLOATS:
                return _response(dialect.write_embeddings(asked, result, caller.trace))
            return _response(await to_thread.run_sync(dialect.write_embeddings, asked, result, caller.trace))

    for path in dialect.embeddings_paths:
        router.add_api_route(path, embeddings, methods=["POST"], openapi_extra=dialect.document_embeddings(), name=path)


def add_rerank(router: APIRouter, dialect: RerankDialect, service: ServingContext, config: Config) -> None:
    """Scores, on every path that the dialect names."""

    async def rerank_documents(request: Request) -> Response:
        service.engine.check_open()
        body = await read_body(request, config.limits)
        spoken, asked = await parsed(body, lambda fields: _parse_rerank(dialect, fields, request))
        caller = _caller(request, config, len(body))
        result = await rerank(asked.call, service, caller)
        with caller.trace.stage("write"):
            return _response(spoken.write_rerank(asked, result, caller.trace))

    for path in dialect.rerank_paths:
        router.add_api_route(
            path, rerank_documents, methods=["POST"], openapi_extra=dialect.document_rerank(), name=path
        )


def add_models(router: APIRouter, dialect: ApiDialect, service: ServingContext) -> None:
    """What is served, on every path that the dialect names."""
    for path in dialect.models_paths:
        extra = operation("What is served", dialect.group, dialect.error_shape, LISTED_MODELS)
        router.add_api_route(path, _models(dialect, service), methods=["GET"], openapi_extra=extra, name=path)
        one = f"{path}/{{model:path}}"
        extra = operation("One served model", dialect.group, dialect.error_shape, LISTED_MODEL) | {
            "parameters": [MODEL_PARAMETER]
        }
        router.add_api_route(one, _model(dialect, service), methods=["GET"], openapi_extra=extra, name=one)


def _parse_rerank(dialect: RerankDialect, fields: JsonObject, request: Request) -> tuple[RerankDialect, ParsedRerank]:
    spoken = dialect.rerank_dialect(fields)
    request.scope[SCOPE_DIALECT] = spoken
    return spoken, spoken.parse_rerank(fields)


def _models(dialect: ApiDialect, service: ServingContext) -> Handler:
    async def models(request: Request) -> Response:
        served = service.registry.models
        listed = [_listed(dialect, service, model, name) for model in served for name in model.names]
        return _response(Reply(dump({"object": "list", "data": listed})))

    return models


def _model(dialect: ApiDialect, service: ServingContext) -> Handler:
    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        found = service.registry.find(name, "embedder")
        return _response(Reply(dump(_listed(dialect, service, found, name))))

    return model


def _listed(dialect: ApiDialect, service: ServingContext, model: ServedModel, name: str) -> JsonObject:
    listed = {
        "id": name,
        "object": "model",
        "created": service.registry.created,
        "owned_by": "hearth",
        "kind": LISTED_KINDS[model.kind],
        "supports_chat": False,
        "supports_image_input": False,
        "supports_tools": False,
        "context_length": model.preprocessor.info.max_tokens,
    }
    return dialect.write_model(listed, _served(service, model))


def _served(service: ServingContext, model: ServedModel) -> JsonObject:
    info, how = model.preprocessor.info, service.engine.info.get(model.id)
    served = {
        "kind": model.kind,
        "kind_reason": info.kind_reason,
        "architecture": info.architecture,
        # How a vector is read; a classifier has none, and the library's own modules may do anything.
        "pooling": None if info.classifier else "modules" if info.library_modules else info.pooling,
        "dimensions": info.width,
        "prompts": list(model.preprocessor.prompts.by_name),
    }
    # Absent while the model is still loading.
    return served | (asdict(how) if how else {})


def _response(reply: Reply) -> Response:
    return Response(reply.body, headers=dict(reply.headers), media_type=reply.media_type)
