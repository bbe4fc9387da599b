"""Fireworks' API: exactly its shapes and keys; vectors are not normalised unless the request asks for it."""

from server import serialization
from server.api import openapi
from server.api.dialects.embeddings import document_embeddings, parse_embeddings, write_embeddings
from server.api.dialects.protocol import ParsedEmbedding, ParsedRerank, Reply, rerank_headers
from server.api.dialects.rerank import RERANK_ALIASES, RERANK_EXAMPLE, RerankBody, read_rerank_fields, rerank_request
from server.errors import ApiError, InvalidValue
from server.observability.trace import Trace
from server.processing.requests import EmbeddingResult, RerankResult
from server.serialization import JsonObject

_HEADERS = ("fireworks-prompt-tokens", "fireworks-server-processing-time")
_RERANK_RESPONSE = openapi.closed_object(
    object=openapi.STRING,
    model=openapi.STRING,
    data=openapi.array(
        openapi.closed_object({"document": openapi.STRING}, index=openapi.INTEGER, relevance_score=openapi.NUMBER)
    ),
    usage=openapi.USAGE,
)
_ERROR = openapi.closed_object(
    error=openapi.closed_object(
        object=openapi.STRING,
        type=openapi.STRING,
        code=openapi.NULLABLE_STRING,
        message=openapi.STRING,
        param=openapi.NULLABLE_STRING,
    )
)


class Fireworks:
    """Every path under /inference/v1."""

    prefix = "/inference/"
    bases: tuple[str, ...] = ("/inference/v1",)
    embeddings_paths: tuple[str, ...] = ("/inference/v1/embeddings",)
    rerank_paths: tuple[str, ...] = ("/inference/v1/rerank",)
    models_paths: tuple[str, ...] = ("/inference/v1/models",)
    group: openapi.Group = "Fireworks"
    error_shape = openapi.ErrorShape("Fireworks", _ERROR, _ERROR)

    def document_embeddings(self) -> JsonObject:
        summary = "Vectors or logits, in Fireworks' format"
        return document_embeddings(summary, self.group, self.error_shape, headers=_HEADERS)

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        # Fireworks documents normalize: false as the default.
        return parse_embeddings(body, normalize=False)

    def write_embeddings(self, parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        reply = write_embeddings(parsed, result, trace)
        return Reply(reply.body, {**reply.headers, **_headers(result.prompt_tokens, trace)}, reply.media_type)

    def document_rerank(self) -> JsonObject:
        return openapi.operation(
            "Documents ranked by relevance, with exactly Fireworks' keys",
            self.group,
            self.error_shape,
            _RERANK_RESPONSE,
            body=openapi.body_schema(RerankBody, RERANK_ALIASES),
            examples={"two documents": RERANK_EXAMPLE},
            headers=(*openapi.SCORE_HEADERS, *_HEADERS),
        )

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """Documents must be strings, and top_n at least 1."""
        fields = read_rerank_fields(RerankBody, body)
        documents = fields.body.documents
        if not isinstance(documents, list):
            raise InvalidValue("documents", "expected a list of strings.")
        for index, document in enumerate(documents):
            if not isinstance(document, str):
                raise InvalidValue(f"documents[{index}]", "expected a string.")
        request = rerank_request(fields, documents, fields.body.top_n)
        return ParsedRerank(request, fields.ignored, documents, fields.body.return_documents)

    def write_rerank(self, parsed: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """Exactly Fireworks' keys, because some clients reject others."""
        tokens = result.prompt_tokens
        response = {
            "object": "list",
            "model": result.model,
            "data": [_row(parsed, result, index) for index in result.order],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        headers = rerank_headers(parsed, result) | _headers(tokens, trace)
        return Reply(serialization.dump(response), headers)

    def write_model(self, listed: JsonObject, details: JsonObject) -> JsonObject:
        """Without `details`, because Fireworks' clients may reject keys that they do not know."""
        return listed

    def write_error(self, error: ApiError) -> bytes:
        inner = {
            "object": "error",
            "type": error.type,
            "code": error.fireworks_code,
            "message": error.fireworks_message or error.message,
            "param": error.param,
        }
        return serialization.dump({"error": inner})


def _row(parsed: ParsedRerank, result: RerankResult, index: int) -> JsonObject:
    row: JsonObject = {"index": index, "relevance_score": result.scores[index]}
    return row | {"document": parsed.documents[index]} if parsed.return_documents else row


def _headers(tokens: int, trace: Trace) -> dict[str, str]:
    return {"fireworks-prompt-tokens": str(tokens), "fireworks-server-processing-time": f"{trace.seconds():.6f}"}
