"""NVIDIA NIM's reranking route: a query and passages in, their logits out."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from server import serialization
from server.api import openapi
from server.api.dialects.parsing import (
    WireBool,
    WireTruncate,
    ignored_fields,
    names_as_sent,
    parse,
    rename,
    truncation_of,
)
from server.api.dialects.protocol import OPENAI_ERROR, ParsedRerank, Reply, rerank_headers, write_openai_error
from server.api.dialects.rerank import RawScoreFields, wants_raw_scores
from server.api.fields.spellings import aliases_of
from server.api.fields.unsupported import refuse_media
from server.errors import ApiError, InvalidValue
from server.observability.trace import Trace
from server.processing.requests import RerankRequest, RerankResult
from server.serialization import JsonObject

_TEXT = {**openapi.closed_object(text=openapi.STRING), "additionalProperties": True}
_RESPONSE = openapi.closed_object(
    rankings=openapi.array(openapi.closed_object(index=openapi.INTEGER, logit=openapi.NUMBER)), usage=openapi.USAGE
)
_EXAMPLE: JsonObject = {
    "query": {"text": "What is the capital of France?"},
    "passages": [{"text": "Paris is the capital of France."}, {"text": "Bread is made of flour."}],
}


class RankingBody(RawScoreFields):
    """A request to /v1/ranking."""

    operation = "rerank"

    query: Annotated[Any, WithJsonSchema(_TEXT)]
    """The search query: an object with `text`."""
    passages: Annotated[list[Any], WithJsonSchema(openapi.array(_TEXT, 1))]
    """The texts to score: objects with `text`."""
    model: str | None = None
    """A served reranker. Default: the first."""
    truncate: WireTruncate | None = None
    """NONE rejects a passage that is too long; START cuts its start. Default: its end is cut."""
    raw_scores: WireBool | None = None
    """Only true is accepted: this route returns logits."""
    use_activation: WireBool | None = None
    """Only false is accepted: this route returns logits."""


RANKING_ALIASES = aliases_of(RankingBody.model_fields, RankingBody.operation)


class NIM:
    """/v1/ranking."""

    rerank_paths: tuple[str, ...] = ("/v1/ranking", "/ranking")
    error_shape = OPENAI_ERROR

    def document_rerank(self) -> JsonObject:
        return openapi.operation(
            "Passages ranked by relevance, in the format of NVIDIA NIM",
            "Other APIs",
            self.error_shape,
            _RESPONSE,
            body=openapi.body_schema(RankingBody, RANKING_ALIASES),
            examples={"two passages": _EXAMPLE},
            headers=openapi.SCORE_HEADERS,
        )

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """Query and passages are objects with `text`."""
        as_sent, body = names_as_sent(body, RANKING_ALIASES), rename(body, RANKING_ALIASES)
        fields = parse(RankingBody, body, as_sent)
        is_plain = fields.raw_scores is None and fields.use_activation is None
        if not is_plain and not wants_raw_scores(fields, as_sent):
            name = "raw_scores" if fields.raw_scores is not None else as_sent.get("use_activation", "use_activation")
            raise InvalidValue(name, "this route returns logits; use /v1/rerank for probabilities.")
        passages = tuple(_text(passage, f"passages[{index}]") for index, passage in enumerate(fields.passages))
        request = RerankRequest(
            model=fields.model,
            queries=(_text(fields.query, "query"),),
            documents=passages,
            top_n=None,
            task=None,
            raw_scores=True,
            max_tokens_per_doc=None,
            truncate_prompt_tokens=None,
            cut=truncation_of(fields.truncate, None),
            field="passages",
        )
        return ParsedRerank(request, ignored_fields(body, RankingBody), passages, return_documents=False)

    def write_rerank(self, parsed: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """Best first, with the score before its sigmoid or softmax."""
        rankings = [{"index": index, "logit": result.scores[index]} for index in result.order]
        usage = {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}
        response = {"rankings": rankings, "usage": usage}
        return Reply(serialization.dump(response), rerank_headers(parsed, result))

    def write_error(self, error: ApiError) -> bytes:
        return write_openai_error(error)


def _text(value: Any, where: str) -> str:
    if isinstance(value, dict):
        refuse_media(value, where)
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise InvalidValue(where, "expected an object with a string 'text'.")
    return text
