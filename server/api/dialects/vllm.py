"""vLLM's /score: pairs in, scores in the same order out."""

import time
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from server import serialization as wire
from server.api import openapi
from server.api import openapi as schemas
from server.api.dialects.openai import OpenAI
from server.api.dialects.parsing import Fields, JsonObject, WireBool, WireInt, ignored, parse, rename, spelling
from server.api.dialects.protocol import ParsedRerank, Reply, RerankDialect, notes
from server.api.dialects.rerank import prompt_limit
from server.api.openapi import operation
from server.errors import ApiError, EmptyArray, InvalidValue, MissingParameter
from server.observability.trace import Trace
from server.processing.requests import RerankRequest, RerankResult

QUERY_NAMES = ("queries", "text_1", "data_1")
DOCUMENT_NAMES = ("documents", "items", "text_2", "data_2")
NAMES = dict.fromkeys(QUERY_NAMES[1:], "queries") | dict.fromkeys(DOCUMENT_NAMES[1:], "documents")
TEXTS = schemas.either(schemas.STRING, schemas.array(schemas.STRING, 1))
SILENT = ("user", "priority", "request_id")


class ScoreBody(Fields):
    """A request to /score. The two sides of the pairs have several names, of which the first found counts."""

    queries: Annotated[Any, WithJsonSchema(TEXTS)]
    """A string or a list of strings."""
    documents: Annotated[Any, WithJsonSchema(TEXTS)]
    """A string or a list of strings: as many as queries, or any number beside one query."""
    model: str | None = None
    """A served reranker; by default the first."""
    instruction: str | None = None
    """What makes a document relevant to the query, in a sentence."""
    max_tokens_per_doc: WireInt | None = Field(default=None, ge=0)
    """Cut each document to so many tokens; 0 is no cut."""
    truncate_prompt_tokens: WireInt | None = None
    """Cut documents so that each whole prompt takes so many tokens; -1 is the model's maximum."""
    use_activation: WireBool = True
    """false returns log-odds instead of probabilities."""


class VLLM:
    """/score and /v1/score."""

    rerank_paths: tuple[str, ...] = ("/score", "/v1/score")

    def document_rerank(self) -> JsonObject:
        """The OpenAPI operation."""
        return operation(
            "Scores of pairs, in their order, in the shape of vLLM",
            "Neighbours",
            openapi.OPENAI_ERROR,
            schemas.SCORES,
            takes=openapi.body(ScoreBody, NAMES),
            headers=openapi.NOTES,
        )

    def rerank_dialect(self, body: JsonObject) -> RerankDialect:
        """VLLM's own."""
        return self

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """1 x 1, 1 x n or n x n."""
        spelt, body = spelling(body, NAMES), rename(body, NAMES)
        query_field, field = spelt.get("queries", "queries"), spelt.get("documents", "documents")
        for name, first in (("queries", QUERY_NAMES), ("documents", DOCUMENT_NAMES)):
            if name not in body:
                raise MissingParameter(first[0])
        fields = parse(ScoreBody, body, spelt)
        queries, documents = _texts(query_field, fields.queries), _texts(field, fields.documents)
        if len(queries) not in (1, len(documents)):
            many = f"expected 1 or {len(documents)}, as there are {field}, not {len(queries)}."
            raise InvalidValue(query_field, many)
        call = RerankRequest(
            model=fields.model,
            queries=queries,
            documents=documents,
            top_n=None,
            task=fields.instruction,
            raw_scores=not fields.use_activation,
            max_tokens_per_doc=fields.max_tokens_per_doc or None,
            truncate_prompt_tokens=prompt_limit(fields.truncate_prompt_tokens),
            field=field,
            query_field=query_field,
            task_names=("instruction",) if fields.instruction else (),
        )
        return ParsedRerank(call, ignored(body, ScoreBody, SILENT), documents, return_documents=False)

    def write_rerank(self, asked: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """In the order of the pairs."""
        data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(result.scores)]
        usage = {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}
        answer = {
            "id": trace.request_id,
            "object": "list",
            "created": int(time.time()),
            "model": result.model,
            "data": data,
            "usage": usage,
        }
        return Reply(wire.dump(answer), notes([*asked.ignored, *result.ignored], len(result.warnings)))

    def write_error(self, error: ApiError) -> bytes:
        """As the OpenAI door does."""
        return OpenAI().write_error(error)


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
