"""Routes that need a tokenizer but no device: TEI's and vLLM's /tokenize, /detokenize and /decode, and TEI's /info."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import Request, Response
from pydantic import WithJsonSchema

from models import BackendInfo, Ids, TextLimit
from server import VERSION
from server.api import openapi
from server.api.dialects.openai import OPENAI_OR_TEI_ERROR, OpenAI
from server.api.dialects.parsing import Fields, WireBool, ignored_fields, parse, read_input
from server.api.dialects.protocol import OPENAI_ERROR, ErrorDialect, hearth_headers
from server.api.dialects.tei import TEI, TEI_ERROR
from server.api.middleware import SCOPE_DIALECT
from server.api.request import BodyReader, request_context
from server.api.route_table import Handler, Route
from server.config import Config, RequestLimits
from server.errors import ArrayTooLong, InvalidValue, TooManyTokens
from server.processing.context import RequestContext, ServingContext
from server.processing.requests import Texts, TokenIds
from server.processing.tokenization import Between
from server.registry import ModelRegistry, ServedModel
from server.serialization import JsonObject, dump

# The response has some hundred bytes for each token: clients must split longer texts.
MAX_CHARACTERS = 1_000_000
# Its bytes in UTF-8.
TOKENS_PER_CHARACTER = 4

_VLLM_TOKENS = openapi.closed_object(
    count=openapi.INTEGER,
    max_model_len=openapi.INTEGER,
    tokens=openapi.array(openapi.INTEGER),
    token_strs=openapi.any_of(openapi.array(openapi.STRING), openapi.NULL),
)
_TEI_TOKENS = openapi.array(
    openapi.array(
        openapi.closed_object(
            id=openapi.INTEGER,
            text=openapi.STRING,
            special=openapi.BOOLEAN,
            start=openapi.NULLABLE_INTEGER,
            stop=openapi.NULLABLE_INTEGER,
        )
    )
)
_INFO = openapi.closed_object(
    model_id=openapi.STRING,
    model_sha=openapi.NULL,
    model_dtype=openapi.STRING,
    served_model_name=openapi.STRING,
    model_type={"type": "object", "minProperties": 1, "maxProperties": 1},
    max_concurrent_requests=openapi.INTEGER,
    max_input_length=openapi.INTEGER,
    max_batch_tokens=openapi.NULLABLE_INTEGER,
    max_batch_requests=openapi.NULL,
    max_client_batch_size=openapi.INTEGER,
    auto_truncate=openapi.BOOLEAN,
    tokenization_workers=openapi.INTEGER,
    version=openapi.STRING,
    sha=openapi.NULL,
    docker_label=openapi.NULL,
)
# Unlike an input of /embed, a list to decode may be empty.
_DECODE_IDS = openapi.any_of(openapi.TOKEN_IDS, openapi.array(openapi.array(openapi.TOKEN_ID), 1))
_MODEL_QUERY: JsonObject = {
    "name": "model",
    "in": "query",
    "description": "A served model. Default: the first embedder, else language model, else reranker.",
    "schema": openapi.STRING,
}


class TokenizeBody(Fields):
    """A request to /tokenize: vLLM's with `prompt`, TEI's with `inputs`."""

    prompt: str | None = None
    """vLLM: one text."""
    inputs: Annotated[Any, WithJsonSchema(openapi.TEXT_OR_TEXT_LIST)] = None
    """TEI: a text or a list of texts."""
    model: str | None = None
    """A served model. Default: the first embedder, else language model, else reranker."""
    add_special_tokens: WireBool = True
    """Include the special tokens that the model adds, as /v1/embeddings counts them."""
    return_token_strs: WireBool = False
    """vLLM: also return the text of each token."""


class DetokenizeBody(Fields):
    """A request to /detokenize."""

    tokens: Annotated[Any, WithJsonSchema(openapi.TOKEN_IDS)]
    """A list of token ids."""
    model: str | None = None
    """A served model. Default: the first embedder, else language model, else reranker."""


class DecodeBody(Fields):
    """A request to /decode."""

    ids: Annotated[Any, WithJsonSchema(_DECODE_IDS)]
    """A list of token ids, or a list of such lists."""
    model: str | None = None
    """A served model. Default: the first embedder, else language model, else reranker."""
    skip_special_tokens: WireBool = True
    """Leave special tokens out of the text."""


def tokenize_routes(serving: ServingContext, config: Config, bodies: BodyReader) -> list[Route]:
    """/tokenize, /detokenize, /decode and /info."""
    return [
        Route("POST", ("/tokenize",), _tokenize(serving, config, bodies), _document_tokenize()),
        Route("POST", ("/detokenize",), _detokenize(serving, config, bodies), _document_detokenize()),
        Route("POST", ("/decode",), _decode(serving, config, bodies), _document_decode()),
        Route("GET", ("/info",), _info(serving, config), _document_info()),
    ]


def _tokenize(serving: ServingContext, config: Config, bodies: BodyReader) -> Handler:
    async def tokenize(request: Request, fields: JsonObject, context: RequestContext) -> Response:
        is_tei = "inputs" in fields
        request.scope[SCOPE_DIALECT] = TEI() if is_tei else OpenAI()
        if is_tei == ("prompt" in fields):
            raise InvalidValue("prompt", "send either 'prompt' or 'inputs'.")
        body = parse(TokenizeBody, fields)
        model = _find(serving.registry, body.model)
        characters = _check_size([body.prompt or ""] if body.inputs is None else body.inputs, config)
        write = _tei_tokens if is_tei else _vllm_tokens
        field = "inputs" if is_tei else "prompt"
        return await serving.work.tokenize(
            lambda between: _json(write(body, model, between), ignored_fields(fields, TokenizeBody)),
            characters,
            field,
            context,
        )

    return _with_fields(bodies, config, tokenize)


def _detokenize(serving: ServingContext, config: Config, bodies: BodyReader) -> Handler:
    async def detokenize(_: Request, fields: JsonObject, context: RequestContext) -> Response:
        body = parse(DetokenizeBody, fields)
        model = _find(serving.registry, body.model)
        if not isinstance(body.tokens, list) or any(isinstance(item, list) for item in body.tokens):
            raise InvalidValue("tokens", "expected a list of token ids.")
        texts = await serving.work.tokenize(
            lambda between: _texts_of(body.tokens, "tokens", model, config.limits, between),
            context.body_bytes,
            "tokens",
            context,
        )
        return _json({"prompt": texts[0]}, ignored_fields(fields, DetokenizeBody))

    return _with_fields(bodies, config, detokenize)


def _decode(serving: ServingContext, config: Config, bodies: BodyReader) -> Handler:
    async def decode(_: Request, fields: JsonObject, context: RequestContext) -> Response:
        body = parse(DecodeBody, fields)
        model = _find(serving.registry, body.model)
        return await serving.work.tokenize(
            lambda between: _json(
                _texts_of(body.ids, "ids", model, config.limits, between, body.skip_special_tokens),
                ignored_fields(fields, DecodeBody),
            ),
            context.body_bytes,
            "ids",
            context,
        )

    return _with_fields(bodies, config, decode, TEI())


def _with_fields(
    bodies: BodyReader,
    config: Config,
    answer: Callable[[Request, JsonObject, RequestContext], Awaitable[Response]],
    dialect: ErrorDialect | None = None,
) -> Handler:
    """A handler that reads a body, and then answers it; `dialect` writes the errors of its JSON."""

    async def read_and_answer(request: Request) -> Response:
        if dialect is not None:
            request.scope[SCOPE_DIALECT] = dialect
        with bodies.hold() as held:
            body = await bodies.read(request, held)
            fields = await body.parse(lambda fields: fields)
            return await answer(request, fields, request_context(request, config, body.size))

    return read_and_answer


def _info(serving: ServingContext, config: Config) -> Handler:
    async def info(request: Request) -> Response:
        request.scope[SCOPE_DIALECT] = TEI()
        model = _find(serving.registry, request.query_params.get("model"))
        return _json(_details(model, serving.engine.info.get(model.id), config))

    return info


def _document_tokenize() -> JsonObject:
    either_field = openapi.any_of({"required": ["prompt"]}, {"required": ["inputs"]})
    return openapi.operation(
        "Tokens of texts: with `prompt` in vLLM's format, with `inputs` in TEI's format",
        "Other APIs",
        OPENAI_OR_TEI_ERROR,
        openapi.any_of(_VLLM_TOKENS, _TEI_TOKENS),
        body=openapi.body_schema(TokenizeBody) | either_field,
        examples={"for clients of vLLM": {"prompt": "Hello world"}, "for clients of TEI": {"inputs": ["Hello world"]}},
        headers=openapi.RERANK_HEADERS,
    )


def _document_detokenize() -> JsonObject:
    return openapi.operation(
        "The text of token ids, in vLLM's format",
        "Other APIs",
        OPENAI_ERROR,
        openapi.closed_object(prompt=openapi.STRING),
        body=openapi.body_schema(DetokenizeBody),
        examples={"three tokens": {"tokens": [40, 41, 42]}},
        headers=openapi.RERANK_HEADERS,
    )


def _document_decode() -> JsonObject:
    return openapi.operation(
        "The texts of token ids, in TEI's format",
        "Other APIs",
        TEI_ERROR,
        openapi.array(openapi.STRING),
        body=openapi.body_schema(DecodeBody),
        examples={"three tokens": {"ids": [40, 41, 42]}},
        headers=openapi.RERANK_HEADERS,
    )


def _document_info() -> JsonObject:
    operation = openapi.operation("A served model and its limits, in TEI's format", "Other APIs", TEI_ERROR, _INFO)
    return operation | {"parameters": [_MODEL_QUERY]}


def _find(registry: ModelRegistry, name: str | None) -> ServedModel:
    # A server that has only rerankers can count tokens too.
    if name or any(model.kind != "reranker" for model in registry.models):
        return registry.find(name, "embedder")
    return registry.models[0]


def _check_size(texts: Any, config: Config) -> int:
    """The characters in all. What is no list of texts is refused later."""
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list):
        return 0
    if len(texts) > config.limits.inputs:
        raise ArrayTooLong("inputs", config.limits.inputs, len(texts))
    characters = sum(len(text) for text in texts if isinstance(text, str))
    if characters > MAX_CHARACTERS:
        raise InvalidValue("inputs", f"expected at most {MAX_CHARACTERS} characters in total; got {characters}.")
    return characters


def _vllm_tokens(body: TokenizeBody, model: ServedModel, between: Between) -> JsonObject:
    tokenizer = model.preprocessor.tokenizer
    limit = TextLimit(MAX_CHARACTERS * TOKENS_PER_CHARACTER, between=between)
    ids = tokenizer.encode_within([body.prompt or ""], limit).ids[0]
    ids = tokenizer.with_special_tokens(ids) if body.add_special_tokens else ids
    strings = tokenizer.decode_each(ids) if body.return_token_strs else None
    max_tokens = model.preprocessor.info.max_tokens
    return {"count": len(ids), "max_model_len": max_tokens, "tokens": ids.tolist(), "token_strs": strings}


def _tei_tokens(body: TokenizeBody, model: ServedModel, between: Between) -> list[list[JsonObject]]:
    texts = read_input(body.inputs, field="inputs")
    if not isinstance(texts, Texts):
        raise InvalidValue("inputs", "expected a string or a list of strings.")
    tokenizer = model.preprocessor.tokenizer
    before, after = (_special(tokenizer.decode_each, ids, body) for ids in (tokenizer.before, tokenizer.after))
    return [[*before, *_tei_text(text, model, between), *after] for text in texts.values]


def _tei_text(text: str, model: ServedModel, between: Between) -> list[JsonObject]:
    between(0)
    return [
        {"id": token_id, "text": text[start:stop], "special": False, "start": start, "stop": stop}
        for token_id, start, stop in model.preprocessor.tokenizer.offsets(text)
    ]


def _special(decode_each: Callable[[Ids], list[str]], ids: Ids, body: TokenizeBody) -> list[JsonObject]:
    if not body.add_special_tokens:
        return []
    return [
        {"id": int(token_id), "text": text, "special": True, "start": None, "stop": None}
        for token_id, text in zip(ids, decode_each(ids), strict=True)
    ]


def _texts_of(
    values: Any,
    field: str,
    model: ServedModel,
    limits: RequestLimits,
    between: Between,
    skip_special_tokens: bool = False,
) -> list[str]:
    # Before the lists are converted. A flat list of ids is one text.
    if isinstance(values, list) and len(values) > limits.inputs and isinstance(values[0], list):
        raise ArrayTooLong(field, limits.inputs, len(values))
    lists = read_input(values, field=field)
    if not isinstance(lists, TokenIds):
        raise InvalidValue(field, "expected a list of token ids or a list of such lists.")
    if (tokens := sum(map(len, lists.values))) > limits.request_tokens:
        raise TooManyTokens(tokens, limits.request_tokens, field)
    tokenizer, rows = model.preprocessor.tokenizer, model.preprocessor.info.table_rows
    for ids in lists.values:
        if len(outside := ids[(ids < 0) | (ids >= rows)]):
            raise InvalidValue(field, f"token id {outside[0]} is outside the model's vocabulary (0..{rows - 1}).")
    texts = list[str]()
    for ids in lists.values:
        between(0)
        texts.append(tokenizer.decode(ids.astype(np.int32), skip_special_tokens=skip_special_tokens))
    return texts


def _details(model: ServedModel, backend: BackendInfo | None, config: Config) -> JsonObject:
    info = model.preprocessor.info
    if model.kind == "reranker":
        kind: JsonObject = {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
    else:
        kind = {"embedding": {"pooling": "last_token" if info.pooling == "lasttoken" else info.pooling}}
    return {
        "model_id": model.id,
        "model_sha": None,
        "model_dtype": backend.dtype if backend else model.config.dtype,
        "served_model_name": model.id,
        "model_type": kind,
        "max_concurrent_requests": config.batching.queue_items,
        "max_input_length": info.max_tokens,
        "max_batch_tokens": config.batching.max_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": config.limits.documents if model.kind == "reranker" else config.limits.inputs,
        "auto_truncate": model.config.truncate,
        "tokenization_workers": config.workers,
        "version": VERSION,
        "sha": None,
        "docker_label": None,
    }


def _json(value: Any, ignored: Sequence[str] = ()) -> Response:
    return Response(dump(value), headers=hearth_headers(ignored, 0), media_type="application/json")
