"""The embeddings request and answer, which both doors share; only the default of `normalize` differs."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from server import serialization as wire
from server.api import openapi
from server.api import openapi as schemas
from server.api.dialects.parsing import (
    Fields,
    JsonObject,
    WireBool,
    WireInt,
    ignored,
    parse,
    read_input,
    rename,
    spelling,
)
from server.api.dialects.protocol import ParsedEmbedding, Reply, notes
from server.errors import InvalidValue, MissingParameter
from server.observability.trace import Trace
from server.processing.requests import EmbeddingRequest, EmbeddingResult, TemplateVariables, Texts, TokenIds, Truncation

ALIASES = {"output_dimension": "dimensions", "truncation_direction": "truncation_side"}
# Known to other servers, without effect here, and harmless to accept.
SILENT = (
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


_TEXTS: JsonObject = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_IDS: JsonObject = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_OBJECTS: JsonObject = {"type": "array", "items": {"type": "object"}, "minItems": 1}
INPUT: JsonObject = {
    "anyOf": [
        {"type": "string"},
        _TEXTS,
        _IDS,
        {"type": "array", "items": _IDS, "minItems": 1},
        {"type": "object"},
        _OBJECTS,
    ]
}


class EmbeddingsBody(Fields):
    """An embeddings request."""

    input: Annotated[Any, WithJsonSchema(INPUT)]
    """A string, a list of strings, a list of token ids, or a list of such lists."""
    model: str | None = None
    """A served model, by id, alias or any of the spellings that clients use; by default the first embedder."""
    dimensions: WireInt | None = None
    """Cut each vector to so many numbers (Matryoshka), before it is normalised."""
    encoding_format: Literal["float", "base64", "bytes"] = "float"
    """base64 of little-endian float32 and raw bytes are smaller and faster than floats."""
    normalize: WireBool | None = None
    """Scale vectors to length 1; with return_logits: softmax over the selected tokens."""
    use_activation: WireBool | None = None
    """Another name of `normalize`, which wins over it; without effect on logits."""
    return_logits: list[WireInt] | None = None
    """Token ids whose logits are returned instead of a vector; an empty list means every token."""
    prompt_name: str | None = None
    """One of the model's named prompts, put before each text; "" puts none, whatever the model is configured to."""
    truncate: WireBool | None = None
    """Cut an input that is too long instead of refusing it; by default as the model is configured."""
    truncate_prompt_tokens: WireInt | None = None
    """Cut each input to so many tokens; -1 is the model's maximum."""
    truncation_side: Literal["left", "right"] = "right"
    """Which end is cut."""
    perf_metrics_in_response: WireBool = False
    """Add `perf_metrics` to the answer."""
    embed_dtype: Literal["float32"] = "float32"
    """Answers are float32."""
    endianness: Literal["little", "native"] = "little"
    """Answers are little-endian."""
    embedding_type: Literal["float"] = "float"
    """Vectors are of floats."""
    prompt_template: str | None = None
    """Makes the text of each input: Jinja from a closed list, or plain {name}; see docs."""


def document_embeddings(summary: str, group: openapi.Group, error: str, headers: Sequence[str] = ()) -> JsonObject:
    """The OpenAPI operation."""
    return openapi.operation(
        summary,
        group,
        error,
        schemas.EMBEDDINGS,
        takes=openapi.body(EmbeddingsBody, ALIASES),
        headers=(*openapi.EMBEDDING_NOTES, "metadata", *headers),
        is_binary_too=True,
    )


def parse_embeddings(body: JsonObject, *, normalize: bool) -> ParsedEmbedding:
    """An embeddings body as a call; `normalize` is the door's default for vectors.

    Raises: ApiError.
    """
    spelt, body = spelling(body, ALIASES), rename(body, ALIASES)
    if "input" not in body:
        raise MissingParameter("input")
    if isinstance(body.get("truncation_side"), str):
        body["truncation_side"] = body["truncation_side"].lower()
    fields = parse(EmbeddingsBody, body, spelt)
    inputs = read_input(fields.input, has_template=fields.prompt_template is not None)
    if fields.prompt_template is not None and isinstance(inputs, TokenIds):
        raise InvalidValue("prompt_template", "token ids cannot fill a template. Send text or objects.")
    logits = None if fields.return_logits is None else tuple(fields.return_logits)
    call = EmbeddingRequest(
        model=fields.model,
        input=inputs,
        dimensions=_dimensions(fields),
        normalize=_normalize(fields, normalize),
        return_logits=logits,
        prompt_name=fields.prompt_name,
        prompt_template=fields.prompt_template,
        cut=_cut(fields),
        encoding_format=fields.encoding_format,
        dimensions_field=spelt.get("dimensions", "dimensions"),
    )
    names = [spelt.get(name, name) for name in _ignored(body, fields, inputs)]
    return ParsedEmbedding(call, names, fields.perf_metrics_in_response)


def write_embeddings(asked: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
    """The answer in the encoding that was asked for."""
    headers = notes(asked.ignored, result.truncated, framed=result.framed, token_ids=result.token_ids)
    usage = {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}
    if asked.call.encoding_format == "bytes":
        return _write_bytes(result, usage, headers)
    rows = wire.items(result.rows, asked.call.encoding_format)
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    answer = {"object": "list", "data": data, "model": result.model, "usage": usage}
    if asked.perf_metrics:
        answer["perf_metrics"] = _perf_metrics(result, trace)
    return Reply(wire.dump(answer), headers)


def _write_bytes(result: EmbeddingResult, usage: JsonObject, headers: dict[str, str]) -> Reply:
    metadata = {
        "model": result.model,
        "dtype": "float32",
        "endianness": "little",
        "shape": list(result.rows.shape),
        "usage": usage,
    }
    # ASCII: a header cannot hold more, and a model's name may.
    headers["metadata"] = json.dumps(metadata, separators=(",", ":"))
    return Reply(wire.little_endian(result.rows).tobytes(), headers, "application/octet-stream")


def _dimensions(fields: EmbeddingsBody) -> int | None:
    return None if fields.return_logits is not None else fields.dimensions


def _normalize(fields: EmbeddingsBody, default: bool) -> bool:
    if fields.return_logits is not None:
        return bool(fields.normalize)
    for asked in (fields.normalize, fields.use_activation):
        if asked is not None:
            return asked
    return default


def _cut(fields: EmbeddingsBody) -> Truncation:
    tokens = fields.truncate_prompt_tokens
    if tokens is not None and (tokens == 0 or tokens < -1):
        raise InvalidValue("truncate_prompt_tokens", "expected an integer ≥ 1, or -1 for the model's maximum.")
    allowed = fields.truncate if tokens is None else True
    return Truncation(allowed, None if tokens == -1 else tokens, fields.truncation_side)


def _ignored(body: JsonObject, fields: EmbeddingsBody, inputs: Texts | TokenIds | TemplateVariables) -> list[str]:
    without_effect = {"dimensions", "use_activation", "prompt_name"} if fields.return_logits is not None else set()
    # No prompt can be put before ids: the tokens of both together may be others.
    without_effect |= {"prompt_name"} if isinstance(inputs, TokenIds) else set()
    unknown = set(ignored(body, EmbeddingsBody, SILENT))
    return [name for name in body if name in unknown or name in without_effect]


def _perf_metrics(result: EmbeddingResult, trace: Trace) -> JsonObject:
    stages = {name: trace.stages.get(stage, 0.0) for name, stage in PERF_METRICS.items()}
    total = {"prompt-tokens": result.prompt_tokens, "cached-prompt-tokens": 0}
    return total | {"server-processing-time": trace.seconds()} | stages
