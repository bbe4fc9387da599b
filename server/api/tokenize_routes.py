"""Routes that need a tokenizer and no device: TEI's and vLLM's /tokenize, /detokenize, /decode, and TEI's /info."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import WithJsonSchema

from models import BackendInfo, Ids
from server import VERSION
from server.api import openapi
from server.api import openapi as schemas
from server.api.dialects.openai import OpenAI
from server.api.dialects.parsing import Fields, JsonObject, WireBool, ignored, parse, read_input
from server.api.dialects.protocol import notes
from server.api.dialects.tei import TEI
from server.api.middleware import SCOPE_DIALECT
from server.api.request import parsed, read_body
from server.config import Config
from server.errors import ArrayTooLong, InvalidValue, TooManyTokens
from server.processing.context import ServingContext
from server.processing.requests import Texts, TokenIds
from server.registry import ModelRegistry, ServedModel
from server.serialization import dump

_ID: JsonObject = {"type": "integer", "minimum": 0}
_IDS = schemas.array(_ID, 1)
_NULLABLE_INTEGER: JsonObject = {"type": ["integer", "null"]}
_TEXTS = schemas.either(schemas.STRING, schemas.array(schemas.STRING, 1))

VLLM_TOKENS = schemas.listed(
    count=schemas.INTEGER,
    max_model_len=schemas.INTEGER,
    tokens=schemas.array(schemas.INTEGER),
    token_strs=schemas.either(schemas.array(schemas.STRING), schemas.NULL),
)
TEI_TOKENS = schemas.array(
    schemas.array(
        schemas.listed(
            id=schemas.INTEGER,
            text=schemas.STRING,
            special=schemas.BOOLEAN,
            start=_NULLABLE_INTEGER,
            stop=_NULLABLE_INTEGER,
        )
    )
)
INFO = schemas.listed(
    model_id=schemas.STRING,
    model_sha=schemas.NULL,
    model_dtype=schemas.STRING,
    served_model_name=schemas.STRING,
    model_type={"type": "object", "minProperties": 1, "maxProperties": 1},
    max_concurrent_requests=schemas.INTEGER,
    max_input_length=schemas.INTEGER,
    max_batch_tokens=_NULLABLE_INTEGER,
    max_batch_requests=schemas.NULL,
    max_client_batch_size=schemas.INTEGER,
    auto_truncate=schemas.BOOLEAN,
    tokenization_workers=schemas.INTEGER,
    version=schemas.STRING,
    sha=schemas.NULL,
    docker_label=schemas.NULL,
)
MODEL: JsonObject = {
    "name": "model",
    "in": "query",
    "description": "A served model; by default the first embedder, or the first of all where there is none.",
    "schema": schemas.STRING,
}


class TokenizeBody(Fields):
    """A request to /tokenize: vLLM's with `prompt`, TEI's with `inputs`."""

    prompt: str | None = None
    """vLLM's: one text."""
    inputs: Annotated[Any, WithJsonSchema(_TEXTS)] = None
    """TEI's: a text or a list of texts."""
    model: str | None = None
    """A served model; by default the first embedder, or the first of all where there is none."""
    add_special_tokens: WireBool = True
    """Whether the model's own special tokens are counted in, as /v1/embeddings does."""
    return_token_strs: WireBool = False
    """vLLM's: add each token's text."""


class DetokenizeBody(Fields):
    """A request to /detokenize."""

    tokens: Annotated[Any, WithJsonSchema(_IDS)]
    """A list of token ids."""
    model: str | None = None
    """A served model; by default the first embedder, or the first of all where there is none."""


class DecodeBody(Fields):
    """A request to /decode."""

    ids: Annotated[Any, WithJsonSchema(schemas.either(_IDS, schemas.array(schemas.array(_ID), 1)))]
    """A list of token ids, or a list of such lists."""
    model: str | None = None
    """A served model; by default the first embedder, or the first of all where there is none."""
    skip_special_tokens: WireBool = True
    """Whether control tokens are left out of the text."""


def document_tokenize() -> JsonObject:
    """The OpenAPI operation of /tokenize."""
    either = schemas.either({"required": ["prompt"]}, {"required": ["inputs"]})
    return openapi.operation(
        "Tokens of texts: with `prompt` in the shape of vLLM, with `inputs` in that of TEI",
        "Neighbours",
        openapi.EITHER_ERROR,
        schemas.either(VLLM_TOKENS, TEI_TOKENS),
        takes=openapi.body(TokenizeBody) | either,
        headers=openapi.NOTES,
    )


def document_detokenize() -> JsonObject:
    """The OpenAPI operation of /detokenize."""
    answer = schemas.listed(prompt=schemas.STRING)
    takes = openapi.body(DetokenizeBody)
    summary = "The text of token ids, in the shape of vLLM"
    return openapi.operation(summary, "Neighbours", openapi.OPENAI_ERROR, answer, takes=takes, headers=openapi.NOTES)


def document_decode() -> JsonObject:
    """The OpenAPI operation of /decode."""
    answer = schemas.array(schemas.STRING)
    takes = openapi.body(DecodeBody)
    summary = "The texts of token ids, in the shape of TEI"
    return openapi.operation(summary, "Neighbours", openapi.TEI_ERROR, answer, takes=takes, headers=openapi.NOTES)


def document_info() -> JsonObject:
    """The OpenAPI operation of /info."""
    found = openapi.operation("What is served and how, in the shape of TEI", "Neighbours", openapi.TEI_ERROR, INFO)
    return found | {"parameters": [MODEL]}


# Some hundred bytes of answer come of one token: more text than this is counted by splitting it.
MAX_CHARACTERS = 1_000_000


def add_tokenizing(router: APIRouter, service: ServingContext, config: Config) -> None:
    """/tokenize, /detokenize, /decode and /info."""
    registry = service.registry

    async def tokenize(request: Request) -> Response:
        fields = await parsed(await read_body(request, config.limits), lambda found: found)
        is_tei = "inputs" in fields
        request.scope[SCOPE_DIALECT] = TEI() if is_tei else OpenAI()
        if is_tei == ("prompt" in fields):
            raise InvalidValue("prompt", "send either 'prompt' or 'inputs'.")
        body = parse(TokenizeBody, fields)
        model = _find(registry, body.model)
        _check_size([body.prompt or ""] if body.inputs is None else body.inputs, config)
        answer = _tei_tokens if is_tei else _vllm_tokens
        return await to_thread.run_sync(lambda: _json(answer(body, model), ignored(fields, TokenizeBody)))

    async def detokenize(request: Request) -> Response:
        fields = await parsed(await read_body(request, config.limits), lambda found: found)
        body = parse(DetokenizeBody, fields)
        model = _find(registry, body.model)
        if not isinstance(body.tokens, list) or any(isinstance(each, list) for each in body.tokens):
            raise InvalidValue("tokens", "expected a list of token ids.")
        texts = await to_thread.run_sync(_decode, body.tokens, "tokens", model, config.limits.request_tokens)
        return _json({"prompt": texts[0]}, ignored(fields, DetokenizeBody))

    async def decode(request: Request) -> Response:
        request.scope[SCOPE_DIALECT] = TEI()
        fields = await parsed(await read_body(request, config.limits), lambda found: found)
        body = parse(DecodeBody, fields)
        model = _find(registry, body.model)
        return await to_thread.run_sync(
            lambda: _json(
                _decode(body.ids, "ids", model, config.limits.request_tokens, body.skip_special_tokens),
                ignored(fields, DecodeBody),
            )
        )

    async def info(request: Request) -> Response:
        request.scope[SCOPE_DIALECT] = TEI()
        model = _find(registry, request.query_params.get("model"))
        return _json(_info(model, service.engine.info.get(model.id), config))

    for path, handler, extra in (
        ("/tokenize", tokenize, document_tokenize()),
        ("/detokenize", detokenize, document_detokenize()),
        ("/decode", decode, document_decode()),
    ):
        router.add_api_route(path, handler, methods=["POST"], openapi_extra=extra, name=path)
    router.add_api_route("/info", info, methods=["GET"], openapi_extra=document_info(), name="/info")


def _find(registry: ModelRegistry, name: str | None) -> ServedModel:
    # A server of rerankers alone has tokens to count too.
    if name or any(model.kind != "reranker" for model in registry.models):
        return registry.find(name, "embedder")
    return registry.models[0]


def _check_size(texts: Any, config: Config) -> None:
    texts = [texts] if isinstance(texts, str) else texts
    if isinstance(texts, list) and len(texts) > config.limits.inputs:
        raise ArrayTooLong("inputs", config.limits.inputs, len(texts))
    characters = sum(len(text) for text in texts if isinstance(text, str)) if isinstance(texts, list) else 0
    if characters > MAX_CHARACTERS:
        raise InvalidValue("inputs", f"expected at most {MAX_CHARACTERS} characters in all, but got {characters}.")


def _vllm_tokens(body: TokenizeBody, model: ServedModel) -> JsonObject:
    tokenizer = model.preprocessor.tokenizer
    ids = tokenizer.encode([body.prompt or ""])[0]
    ids = tokenizer.with_special_tokens(ids) if body.add_special_tokens else ids
    strings = (
        [tokenizer.decode(ids[place : place + 1]) for place in range(len(ids))] if body.return_token_strs else None
    )
    maximum = model.preprocessor.info.max_tokens
    return {"count": len(ids), "max_model_len": maximum, "tokens": ids.tolist(), "token_strs": strings}


def _tei_tokens(body: TokenizeBody, model: ServedModel) -> list[list[JsonObject]]:
    texts = read_input(body.inputs, field="inputs")
    if not isinstance(texts, Texts):
        raise InvalidValue("inputs", "expected a string or a list of strings.")
    tokenizer = model.preprocessor.tokenizer
    before, after = (_special(tokenizer.decode, ids, body) for ids in (tokenizer.before, tokenizer.after))
    return [[*before, *_tei_text(text, model), *after] for text in texts.values]


def _tei_text(text: str, model: ServedModel) -> list[JsonObject]:
    return [
        {"id": token_id, "text": text[start:stop], "special": False, "start": start, "stop": stop}
        for token_id, start, stop in model.preprocessor.tokenizer.offsets(text)
    ]


def _special(decode: Callable[[Ids], str], ids: Ids, body: TokenizeBody) -> list[JsonObject]:
    if not body.add_special_tokens:
        return []
    texts = [decode(ids[place : place + 1]) for place in range(len(ids))]
    return [
        {"id": int(token_id), "text": text, "special": True, "start": None, "stop": None}
        for token_id, text in zip(ids, texts, strict=True)
    ]


def _decode(
    values: Any, field: str, model: ServedModel, max_tokens: int, skip_special_tokens: bool = False
) -> list[str]:
    lists = read_input(values, field=field)
    if not isinstance(lists, TokenIds):
        raise InvalidValue(field, "expected a list of token ids or a list of such lists.")
    if (tokens := sum(map(len, lists.values))) > max_tokens:
        raise TooManyTokens(tokens, max_tokens, field)
    tokenizer, rows = model.preprocessor.tokenizer, model.preprocessor.info.table_rows
    for ids in lists.values:
        if ((ids < 0) | (ids >= rows)).any():
            raise InvalidValue(field, f"a token id is outside the model's vocabulary (0..{rows - 1}).")
    return [tokenizer.decode(ids.astype(np.int32), skip_special_tokens=skip_special_tokens) for ids in lists.values]


def _info(model: ServedModel, how: BackendInfo | None, config: Config) -> JsonObject:
    info = model.preprocessor.info
    if model.kind == "reranker":
        kind: JsonObject = {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
    else:
        kind = {"embedding": {"pooling": "last_token" if info.pooling == "lasttoken" else info.pooling}}
    return {
        "model_id": model.id,
        "model_sha": None,
        "model_dtype": how.dtype if how else model.config.dtype,
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


def _json(value: Any, names: Sequence[str] = ()) -> Response:
    return Response(dump(value), headers=notes(names, 0), media_type="application/json")
