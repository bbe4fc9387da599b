"""vLLM's /score: pairs of texts in, their scores out in the same order."""

import time
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from server import serialization
from server.api import openapi
from server.api.dialects.parsing import (
    WireInt,
    WireTruncate,
    ignored_fields,
    names_as_sent,
    parse,
    prompt_limit,
    rename,
    truncation_of,
)
from server.api.dialects.protocol import OPENAI_ERROR, ParsedRerank, Reply, rerank_headers, write_openai_error
from server.api.dialects.rerank import RawScoreFields, wants_raw_scores
from server.api.fields.spellings import aliases_of
from server.errors import ApiError, EmptyArray, InvalidValue
from server.observability.trace import Trace
from server.processing.requests import RerankRequest, RerankResult
from server.serialization import JsonObject

_QUERY_ALIASES = ("text_1", "data_1")
_DOCUMENT_ALIASES = ("items", "text_2", "data_2")
# Fields of other servers that have no effect here and do no harm.
_SILENT_FIELDS = ("user", "request_id")
_RESPONSE = openapi.closed_object(
    id=openapi.STRING,
    object=openapi.STRING,
    created=openapi.INTEGER,
    model=openapi.STRING,
    data=openapi.array(openapi.closed_object(index=openapi.INTEGER, object=openapi.STRING, score=openapi.NUMBER)),
    usage=openapi.USAGE,
)

_EXAMPLE: JsonObject = {
    "queries": "What is the capital of France?",
    "documents": ["Bread is made of flour.", "Paris is the capital of France."],
}


class ScoreBody(RawScoreFields):
    """A request to /score. Queries and documents have several names."""

    operation = "rerank"

    queries: Annotated[Any, WithJsonSchema(openapi.TEXT_OR_TEXT_LIST)]
    """A string or a list of strings."""
    documents: Annotated[Any, WithJsonSchema(openapi.TEXT_OR_TEXT_LIST)]
    """A string or a list of strings: as many as there are queries, or any number for a single query."""
    model: str | None = None
    """A served reranker. Default: the first."""
    instruction: str | None = None
    """One sentence that says what makes a document relevant to the query."""
    max_tokens_per_doc: WireInt | None = Field(default=None, ge=0)
    """Truncate each document to this many tokens. 0 means no truncation."""
    truncate_prompt_tokens: WireInt | None = None
    """Truncate documents until each whole prompt has at most this many tokens. -1 means the model's maximum."""
    truncate: WireTruncate | None = None
    """NONE or false rejects a document that is too long; START cuts its start. Default: its end is cut."""


SCORE_ALIASES = (
    dict.fromkeys(_QUERY_ALIASES, "queries")
    | dict.fromkeys(_DOCUMENT_ALIASES, "documents")
    | dict.fromkeys(("task", "instruct"), "instruction")
    | aliases_of(ScoreBody.model_fields, ScoreBody.operation)
)


class VLLM:
    """/score and /v1/score."""

    rerank_paths: tuple[str, ...] = ("/score", "/v1/score")
    error_shape = OPENAI_ERROR

    def document_rerank(self) -> JsonObject:
        return openapi.operation(
            "Scores of text pairs in request order, in vLLM's format",
            "Other APIs",
            self.error_shape,
            _RESPONSE,
            body=openapi.body_schema(ScoreBody, SCORE_ALIASES),
            examples={"two pairs": _EXAMPLE},
            headers=openapi.SCORE_HEADERS,
        )

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """One query for one or more documents, or one query for each document."""
        as_sent, body = names_as_sent(body, SCORE_ALIASES), rename(body, SCORE_ALIASES)
        query_field, document_field = as_sent.get("queries", "queries"), as_sent.get("documents", "documents")
        fields = parse(ScoreBody, body, as_sent)
        queries, documents = _texts(query_field, fields.queries), _texts(document_field, fields.documents)
        if len(queries) not in (1, len(documents)):
            expected = f"expected 1 query, or {len(documents)} to match '{document_field}'; got {len(queries)}."
            raise InvalidValue(query_field, expected)
        request = RerankRequest(
            model=fields.model,
            queries=queries,
            documents=documents,
            top_n=None,
            task=fields.instruction,
            raw_scores=wants_raw_scores(fields, as_sent),
            max_tokens_per_doc=fields.max_tokens_per_doc or None,
            truncate_prompt_tokens=prompt_limit(fields.truncate_prompt_tokens),
            cut=truncation_of(fields.truncate, None),
            field=document_field,
            query_field=query_field,
            task_names=(as_sent.get("instruction", "instruction"),) if fields.instruction else (),
        )
        ignored = ignored_fields(body, ScoreBody, _SILENT_FIELDS)
        return ParsedRerank(request, ignored, documents, return_documents=False)

    def write_rerank(self, parsed: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """In the order of the pairs."""
        data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(result.scores)]
        usage = {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}
        response = {
            "id": trace.request_id,
            "object": "list",
            "created": int(time.time()),
            "model": result.model,
            "data": data,
            "usage": usage,
        }
        return Reply(serialization.dump(response), rerank_headers(parsed, result))

    def write_error(self, error: ApiError) -> bytes:
        return write_openai_error(error)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        raise InvalidValue(name, "expected a string or a list of strings.")
    if not values:
        raise EmptyArray(name)
    for index, text in enumerate(values):
        if not isinstance(text, str):
            raise InvalidValue(f"{name}[{index}]", "expected a string.")
    return tuple(values)
