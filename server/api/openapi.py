"""What /openapi.json says of a route: its body, its answer, every error and every header."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel

JsonObject = dict[str, Any]

STRING: JsonObject = {"type": "string"}
NULLABLE_STRING: JsonObject = {"type": ["string", "null"]}
INTEGER: JsonObject = {"type": "integer"}
BOOLEAN: JsonObject = {"type": "boolean"}
NUMBER: JsonObject = {"type": "number"}
NULL: JsonObject = {"type": "null"}


def listed(optional: Mapping[str, JsonObject] | None = None, **properties: JsonObject) -> JsonObject:
    """An object of these properties, all of them there, beside `optional` ones and no others."""
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
    }


def array(items: JsonObject, least: int = 0) -> JsonObject:
    """An array."""
    return {"type": "array", "items": items, **({"minItems": least} if least else {})}


def either(*schemas: JsonObject) -> JsonObject:
    """One of several."""
    return {"anyOf": list(schemas)}


USAGE = listed(prompt_tokens=INTEGER, total_tokens=INTEGER)
EMBEDDING = either(array(NUMBER), {"type": "string", "description": "base64 of float32"})
PERF_METRICS_SCHEMA: JsonObject = {"type": "object", "additionalProperties": NUMBER}
EMBEDDINGS = listed(
    {"perf_metrics": PERF_METRICS_SCHEMA},
    object=STRING,
    data=array(listed(object=STRING, index=INTEGER, embedding=EMBEDDING)),
    model=STRING,
    usage=USAGE,
)
FIREWORKS_RERANK = listed(
    object=STRING,
    model=STRING,
    data=array(listed({"document": STRING}, index=INTEGER, relevance_score=NUMBER)),
    usage=USAGE,
)
SUPERSET_RERANK = listed(
    id=STRING,
    object=STRING,
    model=STRING,
    data=array(listed({"document": STRING}, index=INTEGER, relevance_score=NUMBER)),
    results=array(listed({"document": {"type": "object"}}, index=INTEGER, relevance_score=NUMBER)),
    usage=USAGE,
    meta={"type": "object"},
)
SCORES = listed(
    id=STRING,
    object=STRING,
    created=INTEGER,
    model=STRING,
    data=array(listed(index=INTEGER, object=STRING, score=NUMBER)),
    usage=USAGE,
)
EMBEDDINGS_BY_TYPE = listed(
    id=STRING,
    response_type=STRING,
    embeddings=listed({"float": array(array(NUMBER)), "base64": array(STRING)}),
    texts=array(STRING),
    meta={"type": "object"},
)
EMBEDDINGS_FLOATS = listed(
    id=STRING, response_type=STRING, embeddings=array(array(NUMBER)), texts=array(STRING), meta={"type": "object"}
)
TEI_RERANK = array(listed({"text": STRING}, index=INTEGER, score=NUMBER))

OPENAI_ERROR_SCHEMA = listed(
    error=listed(message=STRING, type=STRING, param=NULLABLE_STRING, code=NULLABLE_STRING, object=STRING),
    message=STRING,
    detail=STRING,
)
FIREWORKS_ERROR_SCHEMA = listed(
    error=listed(object=STRING, type=STRING, code=NULLABLE_STRING, message=STRING, param=NULLABLE_STRING)
)
TEI_ERROR_SCHEMA = listed(error=STRING, error_type=STRING)

LISTED_MODEL = listed(
    {"hearth": {"type": "object", "description": "How it is run; on the OpenAI door."}},
    id=STRING,
    object=STRING,
    created=INTEGER,
    owned_by=STRING,
    kind=STRING,
    supports_chat=BOOLEAN,
    supports_image_input=BOOLEAN,
    supports_tools=BOOLEAN,
    context_length=INTEGER,
)
LISTED_MODELS = listed(object=STRING, data=array(LISTED_MODEL))

Group = Literal["OpenAI", "Fireworks", "Neighbours", "Operation"]

GROUPS: dict[Group, str] = {
    "OpenAI": "OpenAI's embeddings, and a rerank answer that clients of Cohere, Jina and vLLM read too.",
    "Fireworks": "Fireworks' exact shapes; vectors are not normalised unless asked.",
    "Neighbours": "The routes of text-embeddings-inference, vLLM and Cohere.",
    "Operation": "For whoever runs the server.",
}


def body(fields: type[BaseModel], aliases: Mapping[str, str] | None = None) -> JsonObject:
    """A request body; `aliases` gives further names to fields. What is not required may be null."""
    schema = fields.model_json_schema()
    required = set(schema.get("required", ()))
    # What may come under another name may also be null.
    alone = required - set((aliases or {}).values())
    properties = {name: _field(found, name in alone) for name, found in schema["properties"].items()}
    for alias, name in (aliases or {}).items():
        properties[alias] = {**properties[name], "description": f"Another name of `{name}`."}
    found: JsonObject = {"type": "object", "description": schema.get("description", ""), "properties": properties}
    if required:
        found["allOf"] = [_named(name, aliases or {}) for name in sorted(required)]
    return found


def operation(
    summary: str,
    group: Group,
    error: str,
    answer: JsonObject,
    *,
    takes: JsonObject | None = None,
    headers: Iterable[str] = (),
    is_binary_too: bool = False,
) -> JsonObject:
    """An OpenAPI operation for a route that gives `answer`, or else an error of the shape named `error`.

    `takes` is the body's schema, and None is a GET; `headers` names further headers of the answer, from HEADERS; an
    answer that `is_binary_too` may come as bytes.
    """
    content: JsonObject = {"application/json": {"schema": answer}}
    if is_binary_too:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    given = {"description": "OK", "headers": _headers(*ALWAYS, *headers), "content": content}
    statuses = ERRORS if takes is not None else ERRORS_OF_GET
    found: JsonObject = {
        "summary": summary,
        "tags": [group],
        "responses": {"200": given, **{str(status): _ref("responses", f"{error}-{status}") for status in statuses}},
    }
    if takes is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": takes}}}
    return found


def probe(summary: str) -> JsonObject:
    """An OpenAPI operation for a route that needs no key and says how the server does."""
    answer = listed({"reason": STRING}, status=STRING)
    given = {"description": "OK", "headers": _headers(*ALWAYS), "content": {"application/json": {"schema": answer}}}
    not_now = {**given, "description": "Not now.", "headers": _headers(*ALWAYS, "Retry-After")}
    return {
        "summary": summary,
        "tags": ["Operation"],
        "security": [],
        "responses": {"200": given, "503": not_now, "405": _ref("responses", "OpenAI-405")},
    }


def plain_text(summary: str) -> JsonObject:
    """An OpenAPI operation for a route that gives text."""
    content: JsonObject = {"text/plain": {"schema": STRING}}
    given = {"description": "OK", "headers": _headers(*ALWAYS), "content": content}
    errors = {str(status): _ref("responses", f"OpenAI-{status}") for status in (401, 405)}
    return {"summary": summary, "tags": ["Operation"], "responses": {"200": given, **errors}}


def complete(document: JsonObject) -> JsonObject:
    """The document with what its operations refer to."""
    responses = {
        f"{name}-{status}": _error(status, schema if status not in BEFORE_THE_BODY else SHAPES_BEFORE[name])
        for name, schema in SHAPES.items()
        for status in ERRORS
    }
    document["components"] = {"headers": HEADERS, "responses": responses, "securitySchemes": KEYS}
    document["security"] = [{name: []} for name in KEYS]
    document["tags"] = [{"name": name, "description": text} for name, text in GROUPS.items()]
    return document


def _field(schema: JsonObject, is_required: bool) -> JsonObject:
    rest = {name: value for name, value in schema.items() if name in ("description", "default")}
    kind = {name: value for name, value in schema.items() if name not in ("description", "default", "title")}
    nullable = kind.get("anyOf", [kind])
    if is_required:
        return rest | kind
    return rest | either(*nullable, *([] if NULL in nullable else [NULL]))


def _named(name: str, aliases: Mapping[str, str]) -> JsonObject:
    names = [name, *(alias for alias, own in aliases.items() if own == name)]
    return {"required": names} if len(names) == 1 else either(*({"required": [each]} for each in names))


def _ref(kind: str, name: str) -> JsonObject:
    return {"$ref": f"#/components/{kind}/{name}"}


def _headers(*names: str) -> JsonObject:
    return {name: _ref("headers", name) for name in names}


def _error(status: int, schema: JsonObject) -> JsonObject:
    headers = _headers(*ALWAYS, *HEADERS_OF_ERRORS.get(status, ()))
    return {"description": ERRORS[status], "headers": headers, "content": {"application/json": {"schema": schema}}}


def _header(description: str, schema: JsonObject, *, required: bool = False) -> JsonObject:
    return {"description": description, "schema": schema, "required": required}


HEADERS: JsonObject = {
    "x-request-id": _header("The client's own id, or a new one; in every log line.", STRING, required=True),
    "openai-processing-ms": _header("From receipt to first byte.", INTEGER, required=True),
    "server-timing": _header("Stages that ran, in milliseconds.", STRING, required=True),
    "X-Hearth-Ignored-Fields": _header("Fields that were sent and had no effect.", STRING),
    "X-Hearth-Truncated": _header("Inputs or documents that were cut.", INTEGER),
    "X-Hearth-Token-Ids": _header("How token ids were read: native or cl100k_base.", STRING),
    "X-Hearth-Framed": _header("Inputs that were put into the rerank frame.", INTEGER),
    "metadata": _header("With encoding_format bytes: model, dtype, shape and usage as JSON.", STRING),
    "fireworks-prompt-tokens": _header("Tokens of all inputs.", INTEGER, required=True),
    "fireworks-server-processing-time": _header("Seconds.", NUMBER, required=True),
    "Retry-After": _header("Seconds, from 1 to 120.", INTEGER, required=True),
    "retry-after-ms": _header("The same in milliseconds.", INTEGER),
    "x-should-retry": _header("false where trying again gives the same.", STRING),
    "Allow": _header("The method that the route takes.", STRING, required=True),
    "WWW-Authenticate": _header("Bearer.", STRING, required=True),
}
ALWAYS = ("x-request-id", "openai-processing-ms", "server-timing")
NOTES = ("X-Hearth-Ignored-Fields", "X-Hearth-Truncated")
EMBEDDING_NOTES = (*NOTES, "X-Hearth-Token-Ids", "X-Hearth-Framed")
FIREWORKS_NOTES = ("fireworks-prompt-tokens", "fireworks-server-processing-time")
HEADERS_OF_ERRORS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After", "retry-after-ms"),
    500: ("x-should-retry",),
    503: ("Retry-After", "retry-after-ms"),
}
ERRORS = {
    400: "A field is missing or wrong; the message names it, the limit and the fix.",
    401: "No key, or an unknown one.",
    404: "No such model or route.",
    405: "The route exists for another method.",
    408: "The body did not arrive in time.",
    413: "The body is over the byte limit.",
    415: "Not JSON.",
    429: "The queue is full.",
    500: "A fault of the server's.",
    503: "Loading, draining, or the engine is being started again.",
    504: "The request waited longer than it may.",
}
ERRORS_OF_GET = (400, 401, 404, 405, 500)
# Where the body is not read yet, the path alone says how an error is written.
BEFORE_THE_BODY = (401, 405, 408, 413, 415)
KEYS: JsonObject = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}

# How errors are written, by name.
OPENAI_ERROR, FIREWORKS_ERROR, TEI_ERROR, EITHER_ERROR = "OpenAI", "Fireworks", "TEI", "OpenAI-or-TEI"
SHAPES = {
    OPENAI_ERROR: OPENAI_ERROR_SCHEMA,
    FIREWORKS_ERROR: FIREWORKS_ERROR_SCHEMA,
    TEI_ERROR: TEI_ERROR_SCHEMA,
    EITHER_ERROR: either(OPENAI_ERROR_SCHEMA, TEI_ERROR_SCHEMA),
}
SHAPES_BEFORE = dict.fromkeys(SHAPES, OPENAI_ERROR_SCHEMA) | {FIREWORKS_ERROR: FIREWORKS_ERROR_SCHEMA}
