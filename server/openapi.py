"""What /openapi.json says of a route: its body, its answer, every error and every header. Plain JSON Schema."""

from typing import Any

from pydantic import BaseModel

JsonObject = dict[str, Any]

STRING: JsonObject = {"type": "string"}
NULLABLE_STRING: JsonObject = {"type": ["string", "null"]}
INTEGER: JsonObject = {"type": "integer"}
BOOLEAN: JsonObject = {"type": "boolean"}
NUMBER: JsonObject = {"type": "number"}

HEADERS: JsonObject = {
    "x-request-id": {"description": "The client's own id, or a new one; in every log line.", "schema": STRING},
    "openai-processing-ms": {"description": "From receipt to first byte.", "schema": INTEGER},
    "server-timing": {"description": "Stages that ran, in milliseconds.", "schema": STRING},
}
NOTES: JsonObject = {
    "X-Hearth-Ignored-Fields": {"description": "Fields that were sent and had no effect.", "schema": STRING},
    "X-Hearth-Truncated": {"description": "Inputs or documents that were cut.", "schema": INTEGER},
    "X-Hearth-Token-Ids": {"description": "How token ids were read: native or cl100k_base.", "schema": STRING},
    "X-Hearth-Framed": {"description": "Inputs that were put into the rerank frame.", "schema": INTEGER},
}
RETRY: JsonObject = {
    "Retry-After": {"description": "Seconds, from 1 to 120.", "schema": INTEGER},
    "retry-after-ms": {"description": "The same in milliseconds.", "schema": INTEGER},
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


def operation(summary: str, body: type[BaseModel] | None, answer: JsonObject, error: JsonObject) -> JsonObject:
    """An OpenAPI operation for a route that takes `body` and gives `answer`, or else `error`."""
    given = {"200": {"description": "OK", "headers": HEADERS | NOTES, **_content(answer)}}
    errors = {str(status): _error(status, text, error) for status, text in ERRORS.items()}
    found: JsonObject = {"summary": summary, "responses": given | errors}
    if body is not None:
        found["requestBody"] = {"required": True, **_content(body.model_json_schema())}
    return found


def listed(**properties: JsonObject) -> JsonObject:
    """An object of exactly these properties, all of them there."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def array(items: JsonObject) -> JsonObject:
    """An array."""
    return {"type": "array", "items": items}


def _error(status: int, text: str, error: JsonObject) -> JsonObject:
    headers = HEADERS | (RETRY if status in (429, 503) else {})
    return {"description": text, "headers": headers, **_content(error)}


def _content(schema: JsonObject) -> JsonObject:
    return {"content": {"application/json": {"schema": schema}}}


USAGE = listed(prompt_tokens=INTEGER, total_tokens=INTEGER)
EMBEDDING: JsonObject = {"anyOf": [array(NUMBER), {"type": "string", "description": "base64 of float32"}]}
EMBEDDINGS = listed(
    object=STRING,
    data=array(listed(object=STRING, index=INTEGER, embedding=EMBEDDING)),
    model=STRING,
    usage=USAGE,
)
OPENAI_ERROR = listed(
    error=listed(message=STRING, type=STRING, param=NULLABLE_STRING, code=NULLABLE_STRING, object=STRING),
    message=STRING,
    detail=STRING,
)
FIREWORKS_ERROR = listed(
    error=listed(object=STRING, type=STRING, code=NULLABLE_STRING, message=STRING, param=NULLABLE_STRING)
)
TEI_ERROR = listed(error=STRING, error_type=STRING)
SCORED = listed(index=INTEGER, relevance_score=NUMBER)
FIREWORKS_RERANK = listed(object=STRING, model=STRING, data=array(SCORED), usage=USAGE)
SUPERSET_RERANK = listed(
    id=STRING,
    object=STRING,
    model=STRING,
    data=array(SCORED),
    results=array(SCORED),
    usage=USAGE,
    meta={"type": "object"},
)
