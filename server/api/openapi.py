"""Building blocks of /openapi.json: JSON schemas, request bodies, operations, and shared errors and headers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from server.serialization import JsonObject

STRING: JsonObject = {"type": "string"}
NULLABLE_STRING: JsonObject = {"type": ["string", "null"]}
INTEGER: JsonObject = {"type": "integer"}
NULLABLE_INTEGER: JsonObject = {"type": ["integer", "null"]}
BOOLEAN: JsonObject = {"type": "boolean"}
NUMBER: JsonObject = {"type": "number"}
NULL: JsonObject = {"type": "null"}
OBJECT: JsonObject = {"type": "object"}


def closed_object(optional: Mapping[str, JsonObject] | None = None, **required: JsonObject) -> JsonObject:
    """An object with all `required` properties, any of the `optional` ones, and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def array(items: JsonObject, min_items: int = 0) -> JsonObject:
    """An array of `items`."""
    return {"type": "array", "items": items, **({"minItems": min_items} if min_items else {})}


def any_of(*schemas: JsonObject) -> JsonObject:
    """A value that matches at least one of the schemas."""
    return {"anyOf": list(schemas)}


TEXT_LIST = array(STRING, 1)
TEXT_OR_TEXT_LIST = any_of(STRING, TEXT_LIST)
TOKEN_ID: JsonObject = {"type": "integer", "minimum": 0}
TOKEN_IDS = array(TOKEN_ID, 1)
TOKEN_ID_LISTS = array(TOKEN_IDS, 1)
USAGE = closed_object(prompt_tokens=INTEGER, total_tokens=INTEGER)

Group = Literal["OpenAI", "Fireworks", "Other APIs", "Operation"]

GROUPS: dict[Group, str] = {
    "OpenAI": "OpenAI's embeddings, and a rerank response that clients of Cohere, Jina and vLLM can read as well.",
    "Fireworks": "The exact shapes of Fireworks. Vectors are not normalised unless the request asks for it.",
    "Other APIs": "The routes of text-embeddings-inference, vLLM and Cohere.",
    "Operation": "Health, readiness and metrics, for the operator of the server.",
}


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """How a dialect writes errors; `name` begins the names of its components in the document."""

    name: str
    schema: JsonObject
    # Until the body is read, the path alone decides how an error is written.
    schema_before_body: JsonObject


def body_schema(fields: type[BaseModel], aliases: Mapping[str, str] | None = None) -> JsonObject:
    """A request body; `aliases` maps further names to fields. Fields that are not required may be null."""
    aliases = aliases or {}
    schema = fields.model_json_schema()
    required = set(schema.get("required", ()))
    # A required field that has aliases may be null if one of them is sent.
    never_null = required - set(aliases.values())
    properties = {name: _field(value, name in never_null) for name, value in schema["properties"].items()}
    for alias, name in aliases.items():
        properties[alias] = {**properties[name], "description": f"Alias of `{name}`."}
    body: JsonObject = {"type": "object", "description": schema.get("description", ""), "properties": properties}
    if required:
        body["allOf"] = [_requires(name, aliases) for name in sorted(required)]
    return body


def operation(
    summary: str,
    group: Group,
    error: ErrorShape,
    response: JsonObject,
    *,
    body: JsonObject | None = None,
    examples: Mapping[str, JsonObject] | None = None,
    headers: Iterable[str] = (),
    may_be_binary: bool = False,
) -> JsonObject:
    """An OpenAPI operation.

    Args:
        summary: one line for the page at /docs.
        group: the section of that page.
        error: how all other responses are written.
        response: schema of the 200 response.
        body: schema of the request body; None for a GET.
        examples: bodies, by name. The built-in demo pair answers each of them.
        headers: names from HEADERS that the 200 response may have, beside ALWAYS.
        may_be_binary: the 200 response may also be application/octet-stream.
    """
    content: JsonObject = {"application/json": {"schema": response}}
    if may_be_binary:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    ok = {"description": "OK", "headers": _headers(*ALWAYS, *headers), "content": content}
    statuses = ERRORS_OF_GET if body is None else ERRORS
    result: JsonObject = {
        "summary": summary,
        "tags": [group],
        "responses": {"200": ok, **{str(status): _ref("responses", f"{error.name}-{status}") for status in statuses}},
    }
    if body is not None:
        values = {name: {"value": example} for name, example in (examples or {}).items()}
        result["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body, "examples": values}},
        }
    return result


def probe(summary: str) -> JsonObject:
    """An OpenAPI operation for a health route, which needs no API key."""
    content = {"application/json": {"schema": closed_object({"reason": STRING}, status=STRING)}}
    ok = {"description": "OK", "headers": _headers(*ALWAYS), "content": content}
    unavailable = {**ok, "description": "Unavailable.", "headers": _headers(*ALWAYS, "Retry-After")}
    return {
        "summary": summary,
        "tags": ["Operation"],
        "security": [],
        "responses": {"200": ok, "503": unavailable, "405": _ref("responses", "OpenAI-405")},
    }


def plain_text(summary: str) -> JsonObject:
    """An OpenAPI operation for a route that answers in plain text."""
    content: JsonObject = {"text/plain": {"schema": STRING}}
    ok = {"description": "OK", "headers": _headers(*ALWAYS), "content": content}
    errors = {str(status): _ref("responses", f"OpenAI-{status}") for status in (401, 405)}
    return {"summary": summary, "tags": ["Operation"], "responses": {"200": ok, **errors}}


def complete(document: JsonObject, error_shapes: Iterable[ErrorShape], root_path: str) -> JsonObject:
    """The document with the components that its operations refer to, for a server below `root_path`."""
    if root_path:
        document["servers"] = [{"url": root_path}]
    responses = {f"{shape.name}-{status}": _error(status, shape) for shape in error_shapes for status in ERRORS}
    document["components"] = {"headers": HEADERS, "responses": responses, "securitySchemes": KEYS}
    document["security"] = [{name: []} for name in KEYS]
    document["tags"] = [{"name": name, "description": text} for name, text in GROUPS.items()]
    return document


def _field(schema: JsonObject, never_null: bool) -> JsonObject:
    notes = {name: value for name, value in schema.items() if name in ("description", "default")}
    types = {name: value for name, value in schema.items() if name not in ("description", "default", "title")}
    if never_null:
        return notes | types
    choices = types.get("anyOf", [types])
    return notes | any_of(*choices, *([] if NULL in choices else [NULL]))


def _requires(field: str, aliases: Mapping[str, str]) -> JsonObject:
    names = [field, *(alias for alias, name in aliases.items() if name == field)]
    return {"required": names} if len(names) == 1 else any_of(*({"required": [name]} for name in names))


def _ref(kind: str, name: str) -> JsonObject:
    return {"$ref": f"#/components/{kind}/{name}"}


def _headers(*names: str) -> JsonObject:
    return {name: _ref("headers", name) for name in names}


def _error(status: int, shape: ErrorShape) -> JsonObject:
    headers = _headers(*ALWAYS, *HEADERS_OF_ERRORS.get(status, ()))
    schema = shape.schema_before_body if status in BEFORE_THE_BODY else shape.schema
    return {"description": ERRORS[status], "headers": headers, "content": {"application/json": {"schema": schema}}}


def _header(description: str, schema: JsonObject, *, required: bool = False) -> JsonObject:
    return {"description": description, "schema": schema, "required": required}


HEADERS: JsonObject = {
    "x-request-id": _header(
        "The id that the client sent, or a new one; every log line of the request has it.", STRING, required=True
    ),
    "openai-processing-ms": _header(
        "Milliseconds from receiving the request to the first byte of the response.", INTEGER, required=True
    ),
    "server-timing": _header("Duration of each stage that ran, in milliseconds.", STRING, required=True),
    "X-Hearth-Ignored-Fields": _header("Fields of the request that had no effect.", STRING),
    "X-Hearth-Truncated": _header("Number of inputs or documents that were truncated.", INTEGER),
    "X-Hearth-Control-Tokens": _header(
        "Number of texts that spell out a control token of the model; it was read as ordinary text.", INTEGER
    ),
    "X-Hearth-Token-Ids": _header("How token ids were interpreted: native or cl100k_base.", STRING),
    "X-Hearth-Rerank": _header("cosine if an embedding model gave the scores.", STRING),
    "X-Hearth-Framed": _header("Number of inputs that were put into the model's rerank prompt.", INTEGER),
    "X-Hearth-Space": _header(
        "The space that the vectors lie in, one name for each form; vectors of equal names can be compared.", STRING
    ),
    "metadata": _header(
        "With encoding_format bytes: model, dtype, endianness, shape and usage of the vectors, as JSON.", STRING
    ),
    "fireworks-prompt-tokens": _header("Number of tokens in all inputs.", INTEGER, required=True),
    "fireworks-server-processing-time": _header("Processing time in seconds.", NUMBER, required=True),
    "Retry-After": _header("Seconds to wait before a retry, from 1 to 120.", INTEGER, required=True),
    "retry-after-ms": _header("The same in milliseconds.", INTEGER),
    "x-should-retry": _header("false if a retry would fail in the same way.", STRING),
    "Allow": _header("The methods that the route accepts.", STRING, required=True),
    "WWW-Authenticate": _header("Always Bearer.", STRING, required=True),
}
ALWAYS = ("x-request-id", "openai-processing-ms", "server-timing")
RERANK_HEADERS = ("X-Hearth-Ignored-Fields", "X-Hearth-Truncated", "X-Hearth-Control-Tokens")
SCORE_HEADERS = (*RERANK_HEADERS, "X-Hearth-Rerank")
EMBEDDING_HEADERS = (*RERANK_HEADERS, "X-Hearth-Token-Ids", "X-Hearth-Framed", "X-Hearth-Space")
HEADERS_OF_ERRORS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After", "retry-after-ms"),
    500: ("x-should-retry",),
    503: ("Retry-After", "retry-after-ms"),
}
ERRORS = {
    400: "A field is missing or invalid. The message names the field, its limit and how to fix it.",
    401: "The API key is missing or unknown.",
    403: "Without keys, a server on a loopback address refuses foreign host names and web pages of other sites.",
    404: "The model or the route does not exist.",
    405: "The route exists, but not for this method.",
    408: "The body did not arrive in time.",
    409: "The vectors would lie in another space than X-Hearth-Expected-Space.",
    413: "The body exceeds the byte limit.",
    415: "The body is not JSON, or its Content-Encoding is not supported.",
    429: "The queue is full.",
    500: "Internal server error.",
    503: "The server is loading, draining or restarting its engine.",
    504: "The request exceeded its time limit.",
}
ERRORS_OF_GET = (400, 401, 403, 404, 405, 500)
# Raised before the body is read, when only the path can tell how the client expects an error.
BEFORE_THE_BODY = (401, 403, 405, 408, 413, 415)
KEYS: JsonObject = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}
