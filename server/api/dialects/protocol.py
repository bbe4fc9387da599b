"""What a dialect is to the routes: it parses request bodies, writes responses and errors, and describes both.

To add a dialect, write one file beside this one and add it to a list in server/api/app.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.api.openapi import NULLABLE_STRING, STRING, ErrorShape, Group, closed_object
from server.errors import ApiError
from server.observability.trace import Trace
from server.processing.requests import EmbeddingRequest, EmbeddingResult, RerankRequest, RerankResult
from server.serialization import JsonObject, dump

MAX_IGNORED_NAMES = 20
_HEADER_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


@dataclass(frozen=True, slots=True)
class ParsedEmbedding:
    """A parsed embeddings request, and what its response depends on beside the result."""

    request: EmbeddingRequest
    ignored: Sequence[str]
    perf_metrics: bool = False
    # Cohere's embedding_types: numbers or encodings; None if the client sent none.
    embedding_types: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class ParsedRerank:
    """A parsed rerank request; `documents` are kept as sent, because the response may repeat them."""

    request: RerankRequest
    ignored: Sequence[str]
    documents: Sequence[Any]
    return_documents: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """A response with status 200."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


class ErrorDialect(Protocol):
    """How errors are written."""

    error_shape: ErrorShape

    def write_error(self, error: ApiError) -> bytes:
        """The body of an error response."""
        ...


class EmbeddingDialect(ErrorDialect, Protocol):
    """An API format for vectors or logits."""

    # The first path is documented, the others are its aliases.
    embeddings_paths: tuple[str, ...]

    def document_embeddings(self) -> JsonObject:
        """The OpenAPI operation of `embeddings_paths`."""
        ...

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        """Raises: ApiError: the body is invalid."""
        ...

    def write_embeddings(self, parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """The response. Runs in a worker thread if the result is large."""
        ...


class RerankFormat(ErrorDialect, Protocol):
    """An API format for scores."""

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """Raises: ApiError: the body is invalid."""
        ...

    def write_rerank(self, parsed: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """The response."""
        ...


class RerankDialect(RerankFormat, Protocol):
    """A format for scores that has paths of its own."""

    # The first path is documented, the others are its aliases.
    rerank_paths: tuple[str, ...]

    def document_rerank(self) -> JsonObject:
        """The OpenAPI operation of `rerank_paths`."""
        ...


class ApiDialect(EmbeddingDialect, RerankDialect, Protocol):
    """A whole API under a base URL: it also lists models, and writes the errors of unknown paths under `prefix`."""

    prefix: str
    # What users put into base URLs for this API, the documented one first.
    bases: tuple[str, ...]
    models_paths: tuple[str, ...]
    group: Group

    def write_model(self, listed: JsonObject, details: JsonObject) -> JsonObject:
        """One item of the models list; `details` says how Hearth runs the model."""
        ...


def hearth_headers(ignored: Sequence[str], truncated: int, **values: object) -> dict[str, str]:
    """The X-Hearth headers of a response; values that are None get no header."""
    headers = {
        f"X-Hearth-{name.replace('_', '-').title()}": str(value) for name, value in values.items() if value is not None
    }
    if truncated:
        headers["X-Hearth-Truncated"] = str(truncated)
    if ignored:
        headers["X-Hearth-Ignored-Fields"] = _names(ignored)
    return headers


def rerank_headers(parsed: ParsedRerank, result: RerankResult) -> dict[str, str]:
    """The X-Hearth headers of scores."""
    return hearth_headers([*parsed.ignored, *result.ignored], len(result.warnings), rerank=result.method)


def _names(ignored: Sequence[str]) -> str:
    # A field's name is the client's own text: a line break in it would end the header.
    names = ignored[:MAX_IGNORED_NAMES]
    safe = [name if 0 < len(name) <= 64 and _HEADER_SAFE.issuperset(name) else "?" for name in names]
    more = [f"...+{len(ignored) - MAX_IGNORED_NAMES}"] if len(ignored) > MAX_IGNORED_NAMES else []
    return ",".join([*safe, *more])


_OPENAI_ERROR_SCHEMA = closed_object(
    error=closed_object(message=STRING, type=STRING, param=NULLABLE_STRING, code=NULLABLE_STRING, object=STRING),
    message=STRING,
    detail=STRING,
)
OPENAI_ERROR = ErrorShape("OpenAI", _OPENAI_ERROR_SCHEMA, _OPENAI_ERROR_SCHEMA)


def write_openai_error(error: ApiError) -> bytes:
    """OpenAI's error body, which the Cohere and vLLM dialects share, and which answers unknown paths."""
    inner = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
        "object": "error",
    }
    # The clients of Cohere and Jina fail without `message` and `detail` at the top.
    return dump({"error": inner, "message": error.message, "detail": error.message})
