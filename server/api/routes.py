"""The routes of a dialect: read, parse, process, write. Errors are raised; the middleware answers them."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict

from fastapi import Request, Response

from models import ModelInfo
from server.api import openapi
from server.api.dialects.protocol import (
    ApiDialect,
    EmbeddingDialect,
    ErrorDialect,
    Reply,
    RerankDialect,
    RerankFormat,
)
from server.api.dialects.tei import TEI
from server.api.dialects.tei_tasks import ROOT_PATHS, Similarity, document_root, is_rerank, is_similarity
from server.api.middleware import SCOPE_DIALECT
from server.api.request import BodyReader, caller_of_request, check_open, request_context
from server.api.route_table import Handler, Route
from server.config import Config, RequestLimits
from server.errors import ArrayTooLong
from server.processing.context import RequestContext, ServingContext
from server.processing.embed import allowed_dimensions, embed
from server.processing.rerank import rerank
from server.registry import ServedModel
from server.serialization import JsonObject, dump

# Larger results are written in a thread: 512 vectors of 1,024 take about 10 ms.
WRITE_IN_THREAD_FLOATS = 256 * 1024
# The names that dialects have for the inputs of an embeddings request.
INPUT_FIELDS = ("input", "inputs", "texts")
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
    "example": "demo-embedding",
    "schema": openapi.STRING,
}

# Runs a parsed request.
Run = Callable[[ServingContext, RequestContext], Awaitable[Reply]]
# A body's dialect, and what parses the body in it.
Choice = tuple[ErrorDialect, Callable[[JsonObject], Run]]


def embeddings_route(dialect: EmbeddingDialect, serving: ServingContext, config: Config, bodies: BodyReader) -> Route:
    """The dialect's paths for vectors and logits."""
    handler = post(serving, config, bodies, lambda _: embeddings_choice(dialect, config.limits), dialect)
    return Route("POST", dialect.embeddings_paths, handler, dialect.document_embeddings(), runs_models=True)


def rerank_route(
    dialect: RerankDialect,
    serving: ServingContext,
    config: Config,
    bodies: BodyReader,
    choose_format: Callable[[JsonObject], RerankFormat] | None = None,
) -> Route:
    """The dialect's paths for scores; `choose_format` finds the format of a body where they accept several."""

    def choose(body: JsonObject) -> Choice:
        return rerank_choice(choose_format(body) if choose_format else dialect)

    handler = post(serving, config, bodies, choose)
    return Route("POST", dialect.rerank_paths, handler, dialect.document_rerank(), runs_models=True)


def root_route(serving: ServingContext, config: Config, bodies: BodyReader) -> Route:
    """The root of text-embeddings-inference, whose server has one model and does that model's task there."""

    def choose(body: JsonObject) -> Choice:
        if is_rerank(body):
            return rerank_choice(TEI())
        return embeddings_choice(Similarity() if is_similarity(body) else TEI(), config.limits)

    handler = post(serving, config, bodies, choose, TEI())
    return Route("POST", ROOT_PATHS, handler, document_root(), runs_models=True)


def models_routes(dialect: ApiDialect, serving: ServingContext) -> list[Route]:
    """The dialect's paths for the list of models and for each model."""
    group, error = dialect.group, dialect.error_shape
    of_list = openapi.operation("The served models", group, error, LISTED_MODELS)
    of_one = openapi.operation("One served model", group, error, LISTED_MODEL) | {"parameters": [MODEL_PARAMETER]}
    model_paths = tuple(f"{path}/{{model:path}}" for path in dialect.models_paths)
    return [
        Route("GET", dialect.models_paths, _models(dialect, serving), of_list),
        Route("GET", model_paths, _model(dialect, serving), of_one),
    ]


def post(
    serving: ServingContext,
    config: Config,
    bodies: BodyReader,
    choose: Callable[[JsonObject], Choice],
    dialect: ErrorDialect | None = None,
) -> Handler:
    """A handler of requests with a body: read, parse as `choose` says, run, write.

    `dialect` writes the errors before the body is read; None is that of the path.
    """

    async def answer(request: Request) -> Response:
        def parse(body: JsonObject) -> Run:
            body.update(request.path_params)
            body_dialect, prepare = choose(body)
            # Before parsing: errors in the body are written in its dialect.
            request.scope[SCOPE_DIALECT] = body_dialect
            return prepare(body)

        if dialect is not None:
            request.scope[SCOPE_DIALECT] = dialect
        # Before the body is read, so that a request that will be refused takes no memory.
        check_open(serving.engine, request.headers, caller_of_request(request), config)
        with bodies.hold() as held:
            body = await bodies.read(request, held)
            run = await body.parse(parse)
            return _response(await run(serving, request_context(request, config, body.size)))

    return answer


def embeddings_choice(dialect: EmbeddingDialect, limits: RequestLimits) -> Choice:
    """Parse, run and write an embeddings request."""

    def prepare(body: JsonObject) -> Run:
        _check_counts(body, limits)
        parsed = dialect.parse_embeddings(body)

        async def run(serving: ServingContext, context: RequestContext) -> Reply:
            result = await embed(parsed.request, serving, context)
            with context.trace.stage("write"):
                if result.rows.size < WRITE_IN_THREAD_FLOATS:
                    return dialect.write_embeddings(parsed, result, context.trace)
                return await serving.work.run_json(dialect.write_embeddings, parsed, result, context.trace)

        return run

    return dialect, prepare


def rerank_choice(rerank_format: RerankFormat) -> Choice:
    """Parse, run and write a rerank request."""

    def prepare(body: JsonObject) -> Run:
        parsed = rerank_format.parse_rerank(body)

        async def run(serving: ServingContext, context: RequestContext) -> Reply:
            result = await rerank(parsed.request, serving, context)
            with context.trace.stage("write"):
                return rerank_format.write_rerank(parsed, result, context.trace)

        return run

    return rerank_format, prepare


def _check_counts(body: JsonObject, limits: RequestLimits) -> None:
    # Before parsing, which converts every list of token ids.
    for name in INPUT_FIELDS:
        inputs = body.get(name)
        if isinstance(inputs, list) and len(inputs) > limits.inputs and isinstance(inputs[0], list | dict | str):
            raise ArrayTooLong(name, limits.inputs, len(inputs))


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
    details: JsonObject = {
        "kind": model.kind,
        "kind_reason": info.kind_reason,
        "architecture": info.architecture,
        # A classifier pools nothing into a vector, and what the library's own modules do is not known.
        "pooling": None if info.classifier else "modules" if info.library_modules else info.pooling,
        "dimensions": info.width,
        "matryoshka": _matryoshka(info),
        "prompts": list(model.preprocessor.prompts.by_name),
        "quantization": info.quantization or None,
    }
    if model.kind != "reranker":
        details |= {"space": serving.space_names.named(model, backend).header, "losses": _losses(model)}
    # The backend is not known while the model is loading.
    return details | (asdict(backend) if backend else {})


def _losses(model: ServedModel) -> JsonObject | None:
    """What each form of vectors loses, as `hearth calibrate` has measured it."""
    if model.calibration is None:
        return None
    return {dtype: asdict(loss) for dtype, loss in model.calibration.losses.items()}


def _matryoshka(info: ModelInfo) -> bool | list[int]:
    """Whether requests may set any `dimensions` up to the width, or the sizes that they may choose."""
    return allowed_dimensions(info) if isinstance(info.matryoshka, tuple) else info.matryoshka


def _response(reply: Reply) -> Response:
    return Response(reply.body, headers=dict(reply.headers), media_type=reply.media_type)
