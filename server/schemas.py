"""Answers and errors as JSON Schema: exactly these keys, for clients that forbid others."""

from collections.abc import Mapping
from typing import Any

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
PERF_METRICS: JsonObject = {"type": "object", "additionalProperties": NUMBER}
EMBEDDINGS = listed(
    {"perf_metrics": PERF_METRICS},
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

OPENAI_ERROR = listed(
    error=listed(message=STRING, type=STRING, param=NULLABLE_STRING, code=NULLABLE_STRING, object=STRING),
    message=STRING,
    detail=STRING,
)
FIREWORKS_ERROR = listed(
    error=listed(object=STRING, type=STRING, code=NULLABLE_STRING, message=STRING, param=NULLABLE_STRING)
)
TEI_ERROR = listed(error=STRING, error_type=STRING)

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
