"""OpenAI's error body, which the Cohere and vLLM dialects share and which unknown paths answer with."""

from server import serialization
from server.api.openapi import NULLABLE_STRING, STRING, ErrorShape, closed_object
from server.errors import ApiError

_SCHEMA = closed_object(
    error=closed_object(message=STRING, type=STRING, param=NULLABLE_STRING, code=NULLABLE_STRING, object=STRING),
    message=STRING,
    detail=STRING,
)
OPENAI_ERROR = ErrorShape("OpenAI", _SCHEMA, _SCHEMA)


def write_openai_error(error: ApiError) -> bytes:
    """The body of an error response."""
    inner = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
        "object": "error",
    }
    # The clients of Cohere and Jina fail without `message` and `detail` at the top.
    return serialization.dump({"error": inner, "message": error.message, "detail": error.message})
