"""OpenAI's embeddings, and one rerank format that satisfies the clients of Cohere, Jina and vLLM."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import WithJsonSchema

from server import serialization
from server.api import openapi
from server.api.dialects.embeddings import (
    EMBEDDINGS_RESPONSE_WITH_ID,
    document_embeddings,
    parse_embeddings,
    write_embeddings,
)
from server.api.dialects.protocol import (
    OPENAI_ERROR,
    ParsedEmbedding,
    ParsedRerank,
    Reply,
    RerankFormat,
    rerank_headers,
    write_openai_error,
)
from server.api.dialects.rerank import (
    RERANK_EXAMPLE,
    RawScoreFields,
    RerankBody,
    read_rerank_fields,
    rerank_aliases,
    rerank_request,
    wants_raw_scores,
)
from server.api.dialects.tei import TEI, TEI_ERROR, TEI_RERANK_EXAMPLE, TEI_RERANK_RESPONSE, TeiRerankBody
from server.api.fields.unsupported import refuse_media
from server.errors import ApiError, ArrayTooLong, InvalidValue
from server.observability.trace import Trace
from server.processing.requests import EmbeddingResult, RerankResult
from server.serialization import JsonObject

MAX_WARNINGS = 20
# Each of them is looked up in each document.
MAX_RANK_FIELDS = 100

OPENAI_OR_TEI_ERROR = openapi.ErrorShape(
    "OpenAI-or-TEI", openapi.any_of(OPENAI_ERROR.schema, TEI_ERROR.schema), OPENAI_ERROR.schema
)
_DOCUMENT_LIST = openapi.array(openapi.any_of(openapi.STRING, openapi.OBJECT), 1)
_RERANK_RESPONSE = openapi.closed_object(
    id=openapi.STRING,
    object=openapi.STRING,
    model=openapi.STRING,
    data=openapi.array(
        openapi.closed_object({"document": openapi.STRING}, index=openapi.INTEGER, relevance_score=openapi.NUMBER)
    ),
    results=openapi.array(
        openapi.closed_object({"document": openapi.OBJECT}, index=openapi.INTEGER, relevance_score=openapi.NUMBER)
    ),
    usage=openapi.USAGE,
    meta=openapi.OBJECT,
)


class OpenAIRerankBody(RerankBody, RawScoreFields):
    """A rerank request under the OpenAI base URL."""

    documents: Annotated[Any, WithJsonSchema(openapi.any_of(openapi.STRING, _DOCUMENT_LIST))]
    """The texts to score: strings, or objects with `text`. A single string is one document."""
    rank_fields: list[str] | None = None
    """The fields of each document object that make up its text. Default: `text`."""


class OpenAI:
    """Every path under /v1 and /v2, and their aliases without a version."""

    prefix = "/"
    # /openai/v1 is Azure's and Groq's, /openai that of Azure's SDK. Paths under them are found by server/api/paths.py.
    bases: tuple[str, ...] = ("/v1", "/v2", "/openai/v1", "/openai", "/api/v1")
    embeddings_paths: tuple[str, ...] = (
        "/v1/embeddings",
        "/embeddings",
        # Azure's two: of its OpenAI service, and of the models of its AI Foundry.
        "/openai/deployments/{model:path}/embeddings",
        "/models/embeddings",
    )
    rerank_paths: tuple[str, ...] = (
        "/v1/rerank",
        "/rerank",
        "/v2/rerank",
        # llama.cpp's.
        "/v1/reranking",
        "/reranking",
    )
    models_paths: tuple[str, ...] = ("/v1/models", "/models")
    group: openapi.Group = "OpenAI"
    error_shape = OPENAI_ERROR

    def document_embeddings(self) -> JsonObject:
        summary = "Vectors or logits of texts or token ids"
        return document_embeddings(summary, self.group, self.error_shape, EMBEDDINGS_RESPONSE_WITH_ID)

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        # OpenAI's vectors have length 1.
        return parse_embeddings(body, normalize=True)

    def write_embeddings(self, parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        # OpenAI's own responses have no `id`, but Mistral's SDK requires one (mistralai 3.7, EmbeddingResponse).
        return write_embeddings(parsed, result, trace, has_id=True)

    def document_rerank(self) -> JsonObject:
        """The operation for both bodies that rerank_format() tells apart."""
        bodies = (openapi.body_schema(body, rerank_aliases(body)) for body in (OpenAIRerankBody, TeiRerankBody))
        return openapi.operation(
            "Documents ranked by relevance, for clients of Fireworks and Cohere; with `texts`, for clients of TEI",
            self.group,
            OPENAI_OR_TEI_ERROR,
            openapi.any_of(_RERANK_RESPONSE, TEI_RERANK_RESPONSE),
            body=openapi.any_of(*bodies),
            examples={"two documents": RERANK_EXAMPLE, "for clients of TEI": TEI_RERANK_EXAMPLE},
            headers=openapi.SCORE_HEADERS,
        )

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """Documents may be strings or objects; top_n 0 means all."""
        fields = read_rerank_fields(OpenAIRerankBody, body)
        body_fields = fields.body
        documents = [body_fields.documents] if isinstance(body_fields.documents, str) else body_fields.documents
        if not isinstance(documents, list):
            raise InvalidValue("documents", "expected a list of strings or objects.")
        top_n, rank_fields = body_fields.top_n, body_fields.rank_fields or ()
        if top_n is not None and top_n < 0:
            raise InvalidValue(fields.as_sent.get("top_n", "top_n"), f"expected an integer ≥ 0; got {top_n}.")
        if len(rank_fields) > MAX_RANK_FIELDS:
            raise ArrayTooLong("rank_fields", MAX_RANK_FIELDS, len(rank_fields))
        texts = [_text(document, index, rank_fields) for index, document in enumerate(documents)]
        raw_scores = wants_raw_scores(body_fields, fields.as_sent)
        request = rerank_request(fields, texts, top_n or None, raw_scores=raw_scores)
        # A string has no fields to choose from.
        unused = ["rank_fields"] if rank_fields and not any(isinstance(item, dict) for item in documents) else []
        return ParsedRerank(request, [*fields.ignored, *unused], documents, body_fields.return_documents)

    def write_rerank(self, parsed: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """`data` is for Fireworks' clients and `results` for all others, in the same order."""
        tokens = result.prompt_tokens
        texts = parsed.request.documents if parsed.return_documents else None
        objects = [_object(document) for document in parsed.documents] if parsed.return_documents else None
        response = {
            "id": trace.request_id,
            # Infinity's client takes no other word here (infinity_client 0.0.78, ReRankResultObject).
            "object": "rerank",
            "model": result.model,
            "data": _rows(result, texts),
            "results": _rows(result, objects),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": _meta(tokens, [*_method_warnings(result), *result.warnings]),
        }
        return Reply(serialization.dump(response), rerank_headers(parsed, result))

    def write_model(self, listed: JsonObject, details: JsonObject) -> JsonObject:
        """With `details`, because OpenAI's clients skip keys that they do not know."""
        return listed | {"hearth": details}

    def write_error(self, error: ApiError) -> bytes:
        return write_openai_error(error)


def rerank_format(body: JsonObject) -> RerankFormat:
    """The format of a body that came to OpenAI's rerank paths: TEI's clients send `texts` there.

    Raises: InvalidValue: both `documents` and `texts` were sent.
    """
    if "texts" not in body:
        return OpenAI()
    if "documents" in body:
        raise InvalidValue("texts", "send either 'documents' or 'texts', not both.")
    return TEI()


def _text(document: Any, index: int, rank_fields: Sequence[str]) -> str:
    if isinstance(document, str):
        return document
    where = f"documents[{index}]"
    if not isinstance(document, dict):
        raise InvalidValue(where, "expected a string or an object with 'text'.")
    if rank_fields:
        return _ranked_text(document, where, rank_fields)
    refuse_media(document, where)
    text = document.get("text")
    if not isinstance(text, str):
        raise InvalidValue(where, "expected an object with a string 'text'; name other fields in 'rank_fields'.")
    return text


def _ranked_text(document: JsonObject, where: str, rank_fields: Sequence[str]) -> str:
    named = {name: document[name] for name in rank_fields if name in document}
    if not named:
        raise InvalidValue(
            where, f"the object has none of the fields in 'rank_fields' ({', '.join(rank_fields)[:64]})."
        )
    return "\n".join(f"{name}: {_as_text(value)}" for name, value in named.items())


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else serialization.dump(value).decode()


def _rows(result: RerankResult, documents: Sequence[Any] | None) -> list[JsonObject]:
    rows = [{"index": index, "relevance_score": result.scores[index]} for index in result.order]
    return rows if documents is None else [row | {"document": documents[row["index"]]} for row in rows]


def _object(document: Any) -> JsonObject:
    return {"text": document} if isinstance(document, str) else document


def _method_warnings(result: RerankResult) -> list[str]:
    if result.method is None:
        return []
    return [f"{result.model} is an embedding model: relevance_score is the {result.method} of two vectors"]


def _meta(tokens: int, warnings: Sequence[str]) -> JsonObject:
    meta: JsonObject = {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": tokens, "output_tokens": 0},
    }
    if warnings:
        more = [f"and {len(warnings) - MAX_WARNINGS} more"] if len(warnings) > MAX_WARNINGS else []
        meta["warnings"] = [*warnings[:MAX_WARNINGS], *more]
    return meta
