"""The embeddings request and response that the OpenAI and Fireworks dialects share."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from server import serialization
from server.api import openapi
from server.api.dialects.parsing import (
    Fields,
    WireBool,
    WireInt,
    ignored_fields,
    names_as_sent,
    parse,
    prompt_limit,
    read_input,
    rename,
)
from server.api.dialects.protocol import ParsedEmbedding, Reply, hearth_headers
from server.errors import InvalidValue, MissingParameter
from server.observability.trace import Trace
from server.processing.requests import EmbeddingRequest, EmbeddingResult, TemplateVariables, Texts, TokenIds, Truncation
from server.serialization import JsonObject

EMBEDDING_ALIASES = {"output_dimension": "dimensions", "truncation_direction": "truncation_side"}
# Fields of other servers that have no effect here and do no harm.
_SILENT_FIELDS = (
    "user",
    "prompt_cache_key",
    "prompt_cache_isolation_key",
    "cache_salt",
    "fanout_size",
    "input_type",
    "priority",
    "request_id",
    "metadata",
)
# Fireworks' names of the stages.
PERF_METRICS = {
    "tokenizer-duration": "tokenize",
    "prefill-queue-duration": "queue",
    "prefill-duration": "forward",
}

_INPUT = openapi.any_of(
    openapi.STRING,
    openapi.TEXT_LIST,
    openapi.TOKEN_IDS,
    openapi.TOKEN_ID_LISTS,
    openapi.OBJECT,
    openapi.array(openapi.OBJECT, 1),
)
_VECTOR = openapi.any_of(openapi.array(openapi.NUMBER), {"type": "string", "description": "float32 vector as base64."})
_RESPONSE = openapi.closed_object(
    {"perf_metrics": {"type": "object", "additionalProperties": openapi.NUMBER}},
    object=openapi.STRING,
    data=openapi.array(openapi.closed_object(object=openapi.STRING, index=openapi.INTEGER, embedding=_VECTOR)),
    model=openapi.STRING,
    usage=openapi.USAGE,
)
_EXAMPLES: dict[str, JsonObject] = {
    "texts": {"input": ["The food was delicious.", "The waiter was friendly."]},
    "shorter vectors": {"input": "The food was delicious.", "dimensions": 64},
    "logits of two tokens": {"input": "Is Paris in France? Answer yes or no.", "return_logits": [20, 21]},
}


class EmbeddingsBody(Fields):
    """An embeddings request."""

    input: Annotated[Any, WithJsonSchema(_INPUT)]
    """A string, a list of strings, a list of token ids, or a list of such lists; objects with `prompt_template`."""
    model: str | None = None
    """A served model, by id, alias or any of the spellings that clients use. Default: the first embedder."""
    dimensions: WireInt | None = None
    """Truncate each vector to this many dimensions before normalisation (Matryoshka models only)."""
    encoding_format: Literal["float", "base64", "bytes"] = "float"
    """base64 (of little-endian float32) and bytes are smaller and faster than float."""
    normalize: WireBool | None = None
    """Scale vectors to length 1. With `return_logits`: apply softmax to the selected logits."""
    use_activation: WireBool | None = None
    """Alias of `normalize`, which takes precedence. No effect on logits."""
    return_logits: list[WireInt] | None = None
    """Return the logits of these token ids instead of a vector. An empty list selects the whole vocabulary."""
    prompt_name: str | None = None
    """One of the model's named prompts, to put before each text. "" disables the model's default prompt."""
    truncate: WireBool | None = None
    """Truncate inputs that are too long instead of rejecting them. Default: the model's configuration."""
    truncate_prompt_tokens: WireInt | None = None
    """Truncate each input to this many tokens. -1 means the model's maximum."""
    truncation_side: Literal["left", "right"] = "right"
    """The end of the input from which tokens are removed."""
    perf_metrics_in_response: WireBool = False
    """Add `perf_metrics` to the response."""
    embed_dtype: Literal["float32"] = "float32"
    """Responses are always float32."""
    endianness: Literal["little", "native"] = "little"
    """Responses are always little-endian."""
    embedding_type: Literal["float"] = "float"
    """Vectors always consist of floats."""
    prompt_template: str | None = None
    """Template that makes the text of each input: a subset of Jinja, or plain {name}. See docs/prompt-templates.md."""


def document_embeddings(
    summary: str, group: openapi.Group, error: openapi.ErrorShape, headers: Sequence[str] = ()
) -> JsonObject:
    """The OpenAPI operation; `headers` are those that the dialect adds."""
    return openapi.operation(
        summary,
        group,
        error,
        _RESPONSE,
        body=openapi.body_schema(EmbeddingsBody, EMBEDDING_ALIASES),
        examples=_EXAMPLES,
        headers=(*openapi.EMBEDDING_HEADERS, "metadata", *headers),
        may_be_binary=True,
    )


def parse_embeddings(body: JsonObject, *, normalize: bool) -> ParsedEmbedding:
    """An embeddings body as a request; `normalize` is the dialect's default for vectors.

    Raises: ApiError.
    """
    as_sent, body = names_as_sent(body, EMBEDDING_ALIASES), rename(body, EMBEDDING_ALIASES)
    if "input" not in body:
        raise MissingParameter("input")
    if isinstance(body.get("truncation_side"), str):
        body["truncation_side"] = body["truncation_side"].lower()
    fields = parse(EmbeddingsBody, body, as_sent)
    inputs = read_input(fields.input, has_template=fields.prompt_template is not None)
    if fields.prompt_template is not None and isinstance(inputs, TokenIds):
        raise InvalidValue("prompt_template", "a template cannot be filled with token ids; send text or objects.")
    logits = None if fields.return_logits is None else tuple(fields.return_logits)
    request = EmbeddingRequest(
        model=fields.model,
        input=inputs,
        dimensions=None if logits is not None else fields.dimensions,
        normalize=_normalize(fields, normalize),
        return_logits=logits,
        prompt_name=fields.prompt_name,
        prompt_template=fields.prompt_template,
        cut=_truncation(fields),
        encoding_format=fields.encoding_format,
        dimensions_field=as_sent.get("dimensions", "dimensions"),
    )
    ignored = [as_sent.get(name, name) for name in _ignored(body, fields, inputs)]
    return ParsedEmbedding(request, ignored, fields.perf_metrics_in_response)


def write_embeddings(parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
    """The response in the requested encoding."""
    headers = hearth_headers(parsed.ignored, result.truncated, framed=result.framed, token_ids=result.token_ids)
    usage = {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}
    if parsed.request.encoding_format == "bytes":
        return _write_bytes(result, usage, headers)
    rows = serialization.items(result.rows, parsed.request.encoding_format)
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    response = {"object": "list", "data": data, "model": result.model, "usage": usage}
    if parsed.perf_metrics:
        response["perf_metrics"] = _perf_metrics(result, trace)
    return Reply(serialization.dump(response), headers)


def _write_bytes(result: EmbeddingResult, usage: JsonObject, headers: dict[str, str]) -> Reply:
    metadata = {
        "model": result.model,
        "dtype": "float32",
        "endianness": "little",
        "shape": list(result.rows.shape),
        "usage": usage,
    }
    # json escapes what is not ASCII: headers cannot hold it, but a model's name may.
    headers["metadata"] = json.dumps(metadata, separators=(",", ":"))
    return Reply(serialization.little_endian(result.rows).tobytes(), headers, "application/octet-stream")


def _normalize(fields: EmbeddingsBody, default: bool) -> bool:
    if fields.return_logits is not None:
        return bool(fields.normalize)
    for choice in (fields.normalize, fields.use_activation):
        if choice is not None:
            return choice
    return default


def _truncation(fields: EmbeddingsBody) -> Truncation:
    tokens = fields.truncate_prompt_tokens
    allowed = fields.truncate if tokens is None else True
    return Truncation(allowed, prompt_limit(tokens), fields.truncation_side)


def _ignored(body: JsonObject, fields: EmbeddingsBody, inputs: Texts | TokenIds | TemplateVariables) -> list[str]:
    without_effect = {"dimensions", "use_activation", "prompt_name"} if fields.return_logits is not None else set()
    # A prompt cannot be put before token ids: its text and theirs together may have other tokens.
    without_effect |= {"prompt_name"} if isinstance(inputs, TokenIds) else set()
    unknown = set(ignored_fields(body, EmbeddingsBody, _SILENT_FIELDS))
    return [name for name in body if name in unknown or name in without_effect]


def _perf_metrics(result: EmbeddingResult, trace: Trace) -> JsonObject:
    stages = {name: trace.stages.get(stage, 0.0) for name, stage in PERF_METRICS.items()}
    total = {"prompt-tokens": result.prompt_tokens, "cached-prompt-tokens": 0}
    return total | {"server-processing-time": trace.seconds()} | stages
