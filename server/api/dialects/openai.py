"""The OpenAI door: OpenAI's embeddings, and one rerank body that satisfies Cohere's, Jina's and vLLM's clients."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import WithJsonSchema

from server import serialization as wire
from server.api import openapi
from server.api import openapi as schemas
from server.api.dialects.embeddings import document_embeddings, parse_embeddings, write_embeddings
from server.api.dialects.parsing import JsonObject, WireBool, ignored, parse
from server.api.dialects.protocol import ParsedEmbedding, ParsedRerank, Reply, RerankDialect, notes
from server.api.dialects.rerank import NAMES, SILENT, RerankBody, make_call, spelling_of, task_names, with_one_task
from server.api.dialects.tei import TEI, TextsBody
from server.api.openapi import operation
from server.errors import ApiError, ArrayTooLong, InvalidValue
from server.observability.trace import Trace
from server.processing.requests import EmbeddingResult, RerankResult

MAX_WARNINGS = 20
# Each is looked for in each document.
MAX_RANK_FIELDS = 100
_DOCUMENT = schemas.either(schemas.STRING, {"type": "object"})
DOCUMENTS = schemas.either(schemas.STRING, schemas.array(_DOCUMENT, 1))


class SupersetBody(RerankBody):
    """A rerank request on the OpenAI door."""

    documents: Annotated[Any, WithJsonSchema(DOCUMENTS)]
    """The texts to score: strings, or objects with `text`; a single string is one document."""
    raw_scores: WireBool = False
    """Return log-odds instead of probabilities."""
    use_activation: WireBool = True
    """false is another way to ask for log-odds."""
    rank_fields: list[str] | None = None
    """Which fields of a document object make up its text; by default `text`."""


class OpenAI:
    """Every path under /v1 and /v2, and the root aliases."""

    prefix = "/"
    embeddings_paths: tuple[str, ...] = ("/v1/embeddings", "/embeddings")
    # Cohere's SDKs append v1/rerank or v2/rerank to a base that users end in /v1.
    rerank_paths: tuple[str, ...] = ("/v1/rerank", "/rerank", "/v2/rerank", "/v1/v1/rerank", "/v1/v2/rerank")
    models_paths: tuple[str, ...] = ("/v1/models", "/models")
    group: openapi.Group = "OpenAI"
    error_shape = openapi.OPENAI_ERROR

    def document_embeddings(self) -> JsonObject:
        """The OpenAPI operation."""
        summary = "Vectors or logits of texts or token ids"
        return document_embeddings(summary, self.group, self.error_shape)

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        """OpenAI's vectors have length 1."""
        return parse_embeddings(body, normalize=True)

    def write_embeddings(self, asked: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """The answer that both doors share."""
        return write_embeddings(asked, result, trace)

    def document_rerank(self) -> JsonObject:
        """The OpenAPI operation."""
        return operation(
            "Documents by relevance, in the shapes of Fireworks and of Cohere at once; with `texts` in that of TEI",
            self.group,
            openapi.EITHER_ERROR,
            schemas.either(schemas.SUPERSET_RERANK, schemas.TEI_RERANK),
            takes=schemas.either(openapi.body(SupersetBody, NAMES), openapi.body(TextsBody, NAMES)),
            headers=openapi.NOTES,
        )

    def rerank_dialect(self, body: JsonObject) -> RerankDialect:
        """TEI's clients send `texts` to the same paths."""
        if "texts" not in body:
            return self
        if "documents" in body:
            raise InvalidValue("texts", "send either 'documents' or 'texts', not both.")
        return TEI()

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """Documents as strings or objects; top_n 0 is all."""
        tasks, spelt, body = task_names(body), spelling_of(body), with_one_task(body)
        fields = parse(SupersetBody, body, spelt)
        documents = [fields.documents] if isinstance(fields.documents, str) else fields.documents
        if not isinstance(documents, list):
            raise InvalidValue("documents", "expected a list of strings or objects.")
        if fields.top_n is not None and fields.top_n < 0:
            raise InvalidValue(spelt.get("top_n", "top_n"), "expected an integer ≥ 0.")
        if len(fields.rank_fields or ()) > MAX_RANK_FIELDS:
            raise ArrayTooLong("rank_fields", MAX_RANK_FIELDS, len(fields.rank_fields or ()))
        texts = [_text(document, index, fields.rank_fields) for index, document in enumerate(documents)]
        raw = fields.raw_scores or not fields.use_activation
        call = make_call(fields, texts, fields.top_n or None, raw_scores=raw, tasks=tasks, spelt=spelt)
        return ParsedRerank(call, ignored(body, SupersetBody, SILENT), documents, fields.return_documents)

    def write_rerank(self, asked: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """`data` for Fireworks' clients and `results` for everybody else's, in the same order."""
        tokens = result.prompt_tokens
        answer = {
            "id": trace.request_id,
            "object": "list",
            "model": result.model,
            "data": _data(asked, result),
            "results": _results(asked, result),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": _meta(tokens, result.warnings),
        }
        return Reply(wire.dump(answer), notes([*asked.ignored, *result.ignored], len(result.warnings)))

    def write_model(self, listed: JsonObject, served: JsonObject) -> JsonObject:
        """OpenAI's clients skip what they do not know."""
        return listed | {"hearth": served}

    def write_error(self, error: ApiError) -> bytes:
        """`message` and `detail` at the top are for Cohere's and Jina's clients, which fail without them."""
        inner = {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
            "object": "error",
        }
        return wire.dump({"error": inner, "message": error.message, "detail": error.message})


def _text(document: Any, index: int, rank_fields: Sequence[str] | None) -> str:
    if isinstance(document, str):
        return document
    if not isinstance(document, dict):
        raise InvalidValue(f"documents[{index}]", "expected a string or an object with 'text'.")
    if rank_fields:
        return _ranked_text(document, index, rank_fields)
    text = document.get("text")
    if not isinstance(text, str):
        raise InvalidValue(f"documents[{index}]", "an object needs 'text', which is a string, or name its rank_fields.")
    return text


def _ranked_text(document: JsonObject, index: int, rank_fields: Sequence[str]) -> str:
    named = {name: document[name] for name in rank_fields if name in document}
    if not named:
        raise InvalidValue(f"documents[{index}]", f"has none of the rank_fields: {', '.join(rank_fields)[:64]}")
    return "\n".join(f"{name}: {_as_text(value)}" for name, value in named.items())


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else wire.dump(value).decode()


def _data(asked: ParsedRerank, result: RerankResult) -> list[JsonObject]:
    rows = [{"index": index, "relevance_score": result.scores[index]} for index in result.order]
    if asked.return_documents:
        return [row | {"document": asked.call.documents[row["index"]]} for row in rows]
    return rows


def _results(asked: ParsedRerank, result: RerankResult) -> list[JsonObject]:
    rows = [{"index": index, "relevance_score": result.scores[index]} for index in result.order]
    if asked.return_documents:
        return [row | {"document": _object(asked.documents[row["index"]])} for row in rows]
    return rows


def _object(document: Any) -> JsonObject:
    return {"text": document} if isinstance(document, str) else document


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
