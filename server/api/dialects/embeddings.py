"""The embeddings request and response that the OpenAI and Fireworks dialects share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from models import OutputDtype
from server import serialization
from server.api import openapi
from server.api.dialects.parsing import (
    Fields,
    Single,
    WireBool,
    WireInt,
    WireSide,
    WireTruncate,
    ignored_fields,
    names_as_sent,
    parse,
    prompt_for,
    prompt_limit,
    read_input,
    rename,
    truncation_of,
)
from server.api.dialects.protocol import ParsedEmbedding, Reply, hearth_headers
from server.api.fields.messages import are_messages, read_messages
from server.api.fields.output_forms import CohereWord, FormWord, WireOutputDtype, output_form
from server.api.fields.spellings import aliases_of
from server.api.fields.unsupported import refuse_media, refuse_unsupported
from server.errors import EmptyArray, InvalidValue, MissingParameter
from server.observability.trace import Trace
from server.processing.requests import Chats, EmbeddingRequest, EmbeddingResult, Inputs, TokenIds, Truncation
from server.serialization import EncodingFormat, JsonObject

# Fields of other servers that have no effect here and do no harm.
_SILENT_FIELDS = (
    "user",
    "prompt_cache_key",
    "prompt_cache_isolation_key",
    "cache_salt",
    "fanout_size",
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
_PART = openapi.closed_object(type={"const": "text"}, text=openapi.STRING) | {"additionalProperties": True}
_CONTENT = openapi.any_of(openapi.STRING, openapi.array(_PART))
_MESSAGE = openapi.closed_object(role=openapi.STRING, content=_CONTENT) | {"additionalProperties": True}
_MESSAGES = openapi.any_of(openapi.array(_MESSAGE, 1), openapi.array(openapi.array(_MESSAGE, 1), 1))
_VECTOR = openapi.any_of(openapi.array(openapi.NUMBER), {"type": "string", "description": "The vector as base64."})
_PERF_METRICS: JsonObject = {"perf_metrics": {"type": "object", "additionalProperties": openapi.NUMBER}}
_KEYS: JsonObject = {
    "object": openapi.STRING,
    "data": openapi.array(openapi.closed_object(object=openapi.STRING, index=openapi.INTEGER, embedding=_VECTOR)),
    "model": openapi.STRING,
    "usage": openapi.USAGE,
}
EMBEDDINGS_RESPONSE = openapi.closed_object(_PERF_METRICS, **_KEYS)
EMBEDDINGS_RESPONSE_WITH_ID = openapi.closed_object(_PERF_METRICS, id=openapi.STRING, **_KEYS)
_EXAMPLES: dict[str, JsonObject] = {
    "texts": {"input": ["The food was delicious.", "The waiter was friendly."]},
    # Of the demo model, because not every default model gives shorter vectors.
    "shorter vectors": {"model": "demo-embedding", "input": "The food was delicious.", "dimensions": 64},
    "logits of two tokens": {"input": "Is Paris in France? Answer yes or no.", "return_logits": [20, 21]},
}


class EmbeddingsBody(Fields):
    """An embeddings request."""

    operation = "embeddings"

    input: Annotated[Any, WithJsonSchema(_INPUT)] = None
    """A string, a list of strings, a list of token ids, or a list of such lists; objects with `prompt_template`, or
    Jina's objects of one `text`."""
    messages: Annotated[list[Any] | None, WithJsonSchema(_MESSAGES)] = None
    """vLLM's: a conversation in place of `input`, or a list of them, for the model's chat template."""
    add_generation_prompt: WireBool = False
    """Whether the chat template ends with the beginning of a reply. No effect without `messages`."""
    add_special_tokens: WireBool | None = None
    """Whether the tokenizer's special tokens go around `messages`. Default: false, and true for `input`, always."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Further variables of the chat template. No effect without `messages`."""
    model: str | None = None
    """A served model, by id, alias or any of the spellings that clients use. Default: the first embedder."""
    dimensions: WireInt | None = None
    """Truncate each vector to this many dimensions before normalisation (Matryoshka models only)."""
    encoding_format: FormWord = "float"
    """base64 (of little-endian numbers) and bytes are smaller and faster than float, which is JSON numbers. The other
    words are Mixedbread's for `output_dtype`."""
    output_dtype: WireOutputDtype | None = None
    """The numbers of the vectors. Default: float32. binary and ubinary hold eight dimensions in a byte, the first one
    in the highest bit, as int8 and as uint8. All but float32 and float16 are refused until `hearth calibrate` has
    measured the model."""
    normalize: WireBool | None = None
    """Scale vectors to length 1. With `return_logits`: apply softmax to the selected logits."""
    use_activation: WireBool | None = None
    """Alias of `normalize`, which takes precedence. No effect on logits."""
    return_logits: list[WireInt] | None = None
    """Return the logits of these token ids instead of a vector. An empty list selects the whole vocabulary."""
    prompt_name: str | None = None
    """One of the model's named prompts, to put before each text. "" disables the model's default prompt."""
    input_type: str | None = None
    """Voyage's and NIM's: query, document or passage, for the model's prompt of that name, if it has one."""
    task: str | None = None
    """Jina's: retrieval.query or retrieval.passage, for the model's prompt `query` or `document`, if it has one."""
    truncate: WireTruncate | None = None
    """Truncate inputs that are too long (at the START or END) or reject them. Default: the model's configuration."""
    truncate_prompt_tokens: WireInt | None = None
    """Truncate each input to this many tokens. -1 means the model's maximum."""
    truncation_side: WireSide | None = None
    """The end of the input from which tokens are removed. Default: right."""
    perf_metrics_in_response: WireBool = False
    """Add `perf_metrics` to the response."""
    endianness: Literal["little", "native"] = "little"
    """Responses are always little-endian."""
    embedding_type: Annotated[CohereWord | None, Single] = None
    """Jina's and NIM's: a word for `encoding_format` or for `output_dtype`."""
    prompt_template: str | None = None
    """Template that makes the text of each input: a subset of Jinja, or plain {name}. See docs/prompt-templates.md."""


EMBEDDING_ALIASES = aliases_of(EmbeddingsBody.model_fields, EmbeddingsBody.operation)


def document_embeddings(
    summary: str,
    group: openapi.Group,
    error: openapi.ErrorShape,
    response: JsonObject = EMBEDDINGS_RESPONSE,
    headers: Sequence[str] = (),
) -> JsonObject:
    """The OpenAPI operation; `headers` are those that the dialect adds."""
    return openapi.operation(
        summary,
        group,
        error,
        response,
        body=openapi.body_schema(EmbeddingsBody, EMBEDDING_ALIASES)
        | openapi.any_of({"required": ["input"]}, {"required": ["messages"]}),
        examples=_EXAMPLES,
        headers=(*openapi.EMBEDDING_HEADERS, "metadata", *headers),
        may_be_binary=True,
    )


def parse_embeddings(body: JsonObject, *, normalize: bool) -> ParsedEmbedding:
    """An embeddings body as a request; `normalize` is the dialect's default for vectors.

    Raises: ApiError.
    """
    as_sent, body = names_as_sent(body, EMBEDDING_ALIASES), rename(body, EMBEDDING_ALIASES)
    if body.get("dimensions") == 0 and "modality" in body:
        # Infinity's clients send both unasked, and 0 for all dimensions.
        del body["dimensions"]
    fields = parse(EmbeddingsBody, body, as_sent)
    inputs = _inputs(fields)
    if fields.prompt_template is not None and isinstance(inputs, TokenIds):
        raise InvalidValue("prompt_template", "a template cannot be filled with token ids; send text or objects.")
    logits = None if fields.return_logits is None else tuple(fields.return_logits)
    prompt_field = _prompt_field(fields, inputs)
    dtype, encoding = _output_form(fields)
    request = EmbeddingRequest(
        model=fields.model,
        input=inputs,
        dimensions=None if logits is not None else fields.dimensions,
        normalize=_normalize(fields, normalize),
        return_logits=logits,
        prompt_name=_prompt_name(fields, prompt_field),
        prompt_template=fields.prompt_template,
        cut=_truncation(fields, as_sent),
        encoding_format=encoding,
        output_dtypes=(dtype,),
        dtype_field=_dtype_field(fields, as_sent),
        prompt_field=prompt_field or "prompt_name",
        dimensions_field=as_sent.get("dimensions", "dimensions"),
    )
    ignored = [as_sent.get(name, name) for name in _ignored(body, fields, inputs, prompt_field)]
    return ParsedEmbedding(request, ignored, fields.perf_metrics_in_response)


def _inputs(fields: EmbeddingsBody) -> Inputs:
    has_template = fields.prompt_template is not None
    field, value = ("messages", fields.messages) if fields.messages else ("input", fields.input)
    if field == "messages" and fields.input is not None:
        raise InvalidValue("messages", "send either 'input' or 'messages', not both.")
    if value is None:
        raise MissingParameter("input") if fields.messages is None else EmptyArray("messages")
    if field == "input" and (has_template or not are_messages(value)):
        if fields.add_special_tokens is False:
            refuse_unsupported({"add_special_tokens": False}, (), fields.operation)
        return read_input(value if has_template else _unwrapped(value), has_template=has_template)
    if has_template:
        raise InvalidValue("prompt_template", "messages are put into the model's own chat template; leave it out.")
    variables = {**(fields.chat_template_kwargs or {}), "add_generation_prompt": fields.add_generation_prompt}
    return read_messages(value, variables, field=field, add_special_tokens=bool(fields.add_special_tokens))


def _unwrapped(value: Any) -> Any:
    """An `input` of Jina's objects as their texts; any other input as it is."""
    values = value if isinstance(value, list) else [value]
    if not values or not isinstance(values[0], dict):
        return value
    for index, item in enumerate(values):
        if isinstance(item, dict):
            refuse_media(item, f"input[{index}]" if isinstance(value, list) else "input")
    texts = [_text_of(item) for item in values]
    if any(text is None for text in texts):
        return value
    return texts if isinstance(value, list) else texts[0]


def _text_of(item: Any) -> str | None:
    if not isinstance(item, dict) or not item.keys() <= {"type", "text"} or item.get("type", "text") != "text":
        return None
    text = item.get("text")
    return text if isinstance(text, str) else None


def write_embeddings(parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace, *, has_id: bool = False) -> Reply:
    """The response in the requested encoding; with the request's id if `has_id`."""
    ignored = [*parsed.ignored, *result.ignored]
    headers = hearth_headers(
        ignored, result.truncated, framed=result.framed, token_ids=result.token_ids, space=result.space
    )
    usage = {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}
    if parsed.request.encoding_format == "bytes":
        return _write_bytes(parsed, result, usage, headers)
    (dtype,) = parsed.request.output_dtypes
    rows = serialization.items(result.in_form(dtype), parsed.request.encoding_format)
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    response: JsonObject = {"id": trace.request_id} if has_id else {}
    response |= {"object": "list", "data": data, "model": result.model, "usage": usage}
    if parsed.perf_metrics:
        response["perf_metrics"] = _perf_metrics(result, trace)
    return Reply(serialization.dump(response), headers)


def _write_bytes(parsed: ParsedEmbedding, result: EmbeddingResult, usage: JsonObject, headers: dict[str, str]) -> Reply:
    (dtype,) = parsed.request.output_dtypes
    rows = result.in_form(dtype)
    metadata = {
        "model": result.model,
        "dtype": dtype,
        "endianness": "little",
        "shape": list(rows.shape),
        "usage": usage,
    }
    # json escapes what is not ASCII: headers cannot hold it, but a model's name may.
    headers["metadata"] = json.dumps(metadata, separators=(",", ":"))
    return Reply(serialization.little_endian(rows).tobytes(), headers, "application/octet-stream")


def _normalize(fields: EmbeddingsBody, default: bool) -> bool:
    if fields.return_logits is not None:
        return bool(fields.normalize)
    for choice in (fields.normalize, fields.use_activation):
        if choice is not None:
            return choice
    return default


def _output_form(fields: EmbeddingsBody) -> tuple[OutputDtype, EncodingFormat]:
    sent = fields.model_fields_set
    names = ("encoding_format", "embedding_type", "output_dtype")
    dtype, encoding = output_form((name, getattr(fields, name)) for name in names if name in sent)
    if fields.return_logits is not None and dtype != "float32":
        raise InvalidValue("output_dtype", f"'{dtype}' is for vectors: logits are float32; leave out one of the two.")
    return dtype, encoding


def _dtype_field(fields: EmbeddingsBody, as_sent: Mapping[str, str]) -> str:
    """The client's name for the field that asks for another form than float32."""
    names = ("output_dtype", "embedding_type", "encoding_format")
    name = next((name for name in names if getattr(fields, name) is not None), "output_dtype")
    return as_sent.get(name, name)


def _prompt_field(fields: EmbeddingsBody, inputs: Inputs) -> str | None:
    """The field that names the prompt; None if no field does, or if this request has no place for a prompt."""
    # A prompt cannot be put before token ids: its text and theirs together may have other tokens. A chat template
    # makes the whole prompt.
    if fields.return_logits is not None or isinstance(inputs, TokenIds | Chats):
        return None
    if fields.prompt_name is not None:
        return "prompt_name"
    # A prompt_template makes the whole prompt.
    names = () if fields.prompt_template is not None else ("input_type", "task")
    return next((name for name in names if getattr(fields, name)), None)


def _prompt_name(fields: EmbeddingsBody, prompt_field: str | None) -> str | None:
    if prompt_field is None:
        return None
    name = str(getattr(fields, prompt_field))
    return name if prompt_field == "prompt_name" else prompt_for(name)


def _truncation(fields: EmbeddingsBody, as_sent: Mapping[str, str]) -> Truncation:
    tokens = fields.truncate_prompt_tokens
    cut = truncation_of(fields.truncate, fields.truncation_side, as_sent.get("truncation_side", "truncation_side"))
    return replace(cut, allowed=cut.allowed if tokens is None else True, max_tokens=prompt_limit(tokens))


def _ignored(body: JsonObject, fields: EmbeddingsBody, inputs: Inputs, prompt_field: str | None) -> list[str]:
    without_effect = {"dimensions", "use_activation"} if fields.return_logits is not None else set()
    if not isinstance(inputs, Chats):
        without_effect |= {"chat_template_kwargs", *(["add_generation_prompt"] if fields.add_generation_prompt else [])}
    without_effect |= {"prompt_name", *(name for name in ("input_type", "task") if getattr(fields, name))}
    without_effect -= {prompt_field}
    unknown = set(ignored_fields(body, EmbeddingsBody, _SILENT_FIELDS))
    return [name for name in body if name in unknown or name in without_effect]


def _perf_metrics(result: EmbeddingResult, trace: Trace) -> JsonObject:
    stages = {name: trace.stages.get(stage, 0.0) for name, stage in PERF_METRICS.items()}
    total = {"prompt-tokens": result.prompt_tokens, "cached-prompt-tokens": 0}
    return total | {"server-processing-time": trace.seconds()} | stages
