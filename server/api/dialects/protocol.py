"""What a dialect gives back to the routes: a parsed request with what is echoed, and the bytes of an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.api.dialects.parsing import JsonObject
from server.api.openapi import Group
from server.errors import ApiError
from server.observability.trace import Trace
from server.processing.requests import EmbeddingRequest, EmbeddingResult, RerankRequest, RerankResult

MAX_NAMES = 20
SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


@dataclass(frozen=True, slots=True)
class ParsedEmbedding:
    """A parsed embeddings request."""

    call: EmbeddingRequest
    ignored: Sequence[str]
    perf_metrics: bool = False
    echo: Any = None


@dataclass(frozen=True, slots=True)
class ParsedRerank:
    """A parsed rerank request, with its documents as they were sent."""

    call: RerankRequest
    ignored: Sequence[str]
    documents: Sequence[Any]
    return_documents: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """A 200 answer."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


class ErrorDialect(Protocol):
    """How errors are written."""

    def write_error(self, error: ApiError) -> bytes:
        """An error's body."""
        ...


class EmbeddingDialect(ErrorDialect, Protocol):
    """One way to ask for vectors or logits."""

    embeddings_paths: tuple[str, ...]

    def document_embeddings(self) -> JsonObject:
        """The OpenAPI operation."""
        ...

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        """Raises: ApiError."""
        ...

    def write_embeddings(self, asked: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """The answer's bytes and headers."""
        ...


class RerankDialect(ErrorDialect, Protocol):
    """One way to ask for scores."""

    rerank_paths: tuple[str, ...]

    def document_rerank(self) -> JsonObject:
        """The OpenAPI operation."""
        ...

    def rerank_dialect(self, body: JsonObject) -> "RerankDialect":
        """The dialect that a body on these paths speaks: mostly this one.

        Raises: ApiError: it speaks two at once.
        """
        ...

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """Raises: ApiError."""
        ...

    def write_rerank(self, asked: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """The answer's bytes and headers."""
        ...


class ApiDialect(EmbeddingDialect, RerankDialect, Protocol):
    """A whole API under one prefix, to which unknown paths belong too."""

    prefix: str
    models_paths: tuple[str, ...]
    group: Group
    error_shape: str

    def write_model(self, listed: JsonObject, served: JsonObject) -> JsonObject:
        """One item of the models list; `served` says how the model is run, for doors that may tell."""
        ...


def notes(ignored: Sequence[str], truncated: int, **others: object) -> dict[str, str]:
    """The X-Hearth headers that say what was done with a request; those without a value are left out."""
    headers = {
        f"X-Hearth-{name.replace('_', '-').title()}": str(value) for name, value in others.items() if value is not None
    }
    if truncated:
        headers["X-Hearth-Truncated"] = str(truncated)
    if ignored:
        headers["X-Hearth-Ignored-Fields"] = _names(ignored)
    return headers


def _names(ignored: Sequence[str]) -> str:
    # A name is the client's own text: anything that could end the header is not repeated.
    safe = [name if 0 < len(name) <= 64 and SAFE.issuperset(name) else "?" for name in ignored[:MAX_NAMES]]
    more = [f"...+{len(ignored) - MAX_NAMES}"] if len(ignored) > MAX_NAMES else []
    return ",".join([*safe, *more])
