"""The Fireworks door: Fireworks' exact shapes and key set, raw vectors unless asked otherwise."""

from server import serialization as wire
from server.api import openapi
from server.api import openapi as schemas
from server.api.dialects.embeddings import document_embeddings, parse_embeddings, write_embeddings
from server.api.dialects.parsing import JsonObject, ignored, parse
from server.api.dialects.protocol import ParsedEmbedding, ParsedRerank, Reply, RerankDialect, notes
from server.api.dialects.rerank import NAMES, SILENT, RerankBody, make_call, spelling_of, task_names, with_one_task
from server.api.openapi import operation
from server.errors import ApiError, InvalidValue
from server.observability.trace import Trace
from server.processing.requests import EmbeddingResult, RerankResult


class Fireworks:
    """Every path under /inference/v1."""

    prefix = "/inference/"
    embeddings_paths: tuple[str, ...] = ("/inference/v1/embeddings",)
    rerank_paths: tuple[str, ...] = ("/inference/v1/rerank",)
    models_paths: tuple[str, ...] = ("/inference/v1/models",)
    group: openapi.Group = "Fireworks"
    error_shape = openapi.FIREWORKS_ERROR

    def document_embeddings(self) -> JsonObject:
        """The OpenAPI operation."""
        summary = "Vectors or logits, as Fireworks gives them"
        return document_embeddings(summary, self.group, self.error_shape, openapi.FIREWORKS_NOTES)

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        """Fireworks documents normalize: false as the default."""
        return parse_embeddings(body, normalize=False)

    def write_embeddings(self, asked: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """The answer that both doors share, with Fireworks' headers."""
        reply = write_embeddings(asked, result, trace)
        return Reply(reply.body, {**reply.headers, **_headers(result.prompt_tokens, trace)}, reply.media_type)

    def document_rerank(self) -> JsonObject:
        """The OpenAPI operation."""
        return operation(
            "Documents by relevance, with exactly the keys of Fireworks",
            self.group,
            self.error_shape,
            schemas.FIREWORKS_RERANK,
            takes=openapi.body(RerankBody, NAMES),
            headers=(*openapi.NOTES, *openapi.FIREWORKS_NOTES),
        )

    def rerank_dialect(self, body: JsonObject) -> RerankDialect:
        """Fireworks has one."""
        return self

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """Documents as strings alone; top_n from 1."""
        tasks, spelt, body = task_names(body), spelling_of(body), with_one_task(body)
        fields = parse(RerankBody, body, spelt)
        if not isinstance(fields.documents, list):
            raise InvalidValue("documents", "expected a list of strings.")
        for index, document in enumerate(fields.documents):
            if not isinstance(document, str):
                raise InvalidValue(f"documents[{index}]", "expected a string.")
        call = make_call(fields, fields.documents, fields.top_n, tasks=tasks, spelt=spelt)
        return ParsedRerank(call, ignored(body, RerankBody, SILENT), fields.documents, fields.return_documents)

    def write_rerank(self, asked: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """Exactly Fireworks' keys, for clients that forbid others."""
        tokens = result.prompt_tokens
        answer = {
            "object": "list",
            "model": result.model,
            "data": [_row(asked, result, index) for index in result.order],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        headers = notes([*asked.ignored, *result.ignored], len(result.warnings)) | _headers(tokens, trace)
        return Reply(wire.dump(answer), headers)

    def write_model(self, listed: JsonObject, served: JsonObject) -> JsonObject:
        """Fireworks' clients may forbid what they do not know."""
        return listed

    def write_error(self, error: ApiError) -> bytes:
        """An object under `error` and nothing beside it."""
        inner = {
            "object": "error",
            "type": error.type,
            "code": error.fireworks_code,
            "message": error.fireworks_message or error.message,
            "param": error.param,
        }
        return wire.dump({"error": inner})


def _row(asked: ParsedRerank, result: RerankResult, index: int) -> JsonObject:
    row: JsonObject = {"index": index, "relevance_score": result.scores[index]}
    return row | {"document": asked.documents[index]} if asked.return_documents else row


def _headers(tokens: int, trace: Trace) -> dict[str, str]:
    return {"fireworks-prompt-tokens": str(tokens), "fireworks-server-processing-time": f"{trace.seconds():.6f}"}
