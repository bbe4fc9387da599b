"""The rerank fields that the Fireworks, OpenAI and TEI dialects share, and how they become a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, WithJsonSchema

from server.api import openapi
from server.api.dialects.parsing import (
    Fields,
    WireBool,
    WireInt,
    WireSide,
    WireTruncate,
    ignored_fields,
    names_as_sent,
    parse,
    prompt_limit,
    rename,
    truncation_of,
)
from server.api.fields.spellings import aliases_of
from server.errors import InvalidValue
from server.processing.requests import RerankRequest
from server.serialization import JsonObject

_TASK_NAMES = ("task", "instruction", "instruct")
# Fields of other servers that have no effect here and do no harm.
_SILENT_FIELDS = (
    "user",
    "max_chunks_per_doc",
    "prompt_cache_key",
    "fanout_size",
    "request_id",
)

RERANK_EXAMPLE: JsonObject = {
    "query": "What is the capital of France?",
    "documents": ["Bread is made of flour.", "Paris is the capital of France."],
    "top_n": 1,
}


class RerankBody(Fields):
    """A rerank request."""

    operation = "rerank"

    query: str
    """The search query."""
    documents: Annotated[Any, WithJsonSchema(openapi.TEXT_LIST)]
    """The texts to score."""
    model: str | None = None
    """A served reranker, by id, alias or any of the spellings that clients use. Default: the first reranker."""
    top_n: WireInt | None = None
    """Number of results. Default: all."""
    return_documents: WireBool = True
    """Whether results include their documents."""
    task: str | None = None
    """Instruction: one sentence that says what makes a document relevant to the query."""
    max_tokens_per_doc: WireInt | None = Field(default=None, ge=0)
    """Truncate each document to this many tokens. 0 means no truncation."""
    truncate_prompt_tokens: WireInt | None = None
    """Truncate documents until each whole prompt has at most this many tokens. -1 means the model's maximum."""
    truncate: WireTruncate | None = None
    """NONE or false rejects a document that is too long; START cuts its start. Default: its end is cut."""
    truncation_side: WireSide | None = None
    """The end of a document from which tokens are removed. Default: right."""


class RawScoreFields(Fields):
    """The two ways to ask for log-odds, of the bodies whose routes have them."""

    raw_scores: WireBool | None = None
    """true returns log-odds instead of probabilities."""
    use_activation: WireBool | None = None
    """false returns log-odds, like `raw_scores`: true."""


def rerank_aliases(schema: type[RerankBody]) -> dict[str, str]:
    """The further names of the fields that a rerank body has."""
    return aliases_of(schema.model_fields, schema.operation) | dict.fromkeys(_TASK_NAMES[1:], "task")


RERANK_ALIASES = rerank_aliases(RerankBody)


RerankBodyT = TypeVar("RerankBodyT", bound=RerankBody)


@dataclass(frozen=True, slots=True)
class RerankFields(Generic[RerankBodyT]):
    """A typed body, and what the client called its fields."""

    body: RerankBodyT
    # The client's names of the fields that were sent under aliases.
    as_sent: Mapping[str, str]
    # All names under which an instruction was sent, in request order.
    task_names: tuple[str, ...]
    ignored: list[str]


def read_rerank_fields(
    schema: type[RerankBodyT], body: JsonObject, silent: Sequence[str] = ()
) -> RerankFields[RerankBodyT]:
    """The body as `schema`, with aliases resolved; `silent` names further fields that are ignored without a report.

    Raises: ApiError.
    """
    instructions = _instructions(body)
    # An empty instruction means the default one, so it is never reported as ignored.
    task_names = tuple(name for name in body if instructions.get(name))
    aliases = rerank_aliases(schema)
    as_sent = names_as_sent(body, aliases)
    if task_names and "task" not in task_names:
        as_sent["task"] = task_names[0]
    renamed = rename(_with_one_task(body, instructions), aliases)
    fields = parse(schema, renamed, as_sent)
    return RerankFields(fields, as_sent, task_names, ignored_fields(renamed, schema, _SILENT_FIELDS, silent))


def rerank_request(
    fields: RerankFields[Any],
    texts: Sequence[str],
    top_n: int | None,
    *,
    raw_scores: bool = False,
    texts_field: str = "documents",
) -> RerankRequest:
    """The request of a body whose documents are `texts`; errors call them `texts_field`.

    Raises: ApiError.
    """
    if top_n is not None and top_n < 1:
        raise InvalidValue(fields.as_sent.get("top_n", "top_n"), f"expected an integer ≥ 1; got {top_n}.")
    body: RerankBody = fields.body
    return RerankRequest(
        model=body.model,
        queries=(body.query,),
        documents=tuple(texts),
        top_n=top_n,
        task=body.task,
        raw_scores=raw_scores,
        max_tokens_per_doc=body.max_tokens_per_doc or None,
        truncate_prompt_tokens=prompt_limit(body.truncate_prompt_tokens),
        cut=truncation_of(
            body.truncate, body.truncation_side, fields.as_sent.get("truncation_side", "truncation_side")
        ),
        field=texts_field,
        task_names=fields.task_names,
    )


def wants_raw_scores(fields: RawScoreFields, as_sent: Mapping[str, str]) -> bool:
    """Whether a body asks for log-odds; `as_sent` comes from names_as_sent().

    Raises: InvalidValue: its two fields contradict each other.
    """
    raw, activation = fields.raw_scores, fields.use_activation
    if raw is not None and raw is activation:
        word = str(raw).lower()
        reason = f"{word} contradicts 'raw_scores': {word}; send only one of them."
        raise InvalidValue(as_sent.get("use_activation", "use_activation"), reason)
    return bool(raw) or activation is False


def _instructions(body: JsonObject) -> JsonObject:
    # "" is the default instruction; the field itself refuses anything else that is not a string.
    sent = {name: body[name] for name in _TASK_NAMES if body.get(name, "") != ""}
    template = body.get("chat_template_kwargs")
    nested = template.get("instruction") if isinstance(template, dict) else None
    return sent | ({"chat_template_kwargs": nested} if nested else {})


def _with_one_task(body: JsonObject, instructions: JsonObject) -> JsonObject:
    if len({str(text) for text in instructions.values()}) > 1:
        first, *_, last = instructions
        raise InvalidValue(last, f"differs from '{first}'; send the instruction once.")
    names = {*_TASK_NAMES, *instructions}
    rest = {name: value for name, value in body.items() if name not in names}
    return rest | ({"task": next(iter(instructions.values()))} if instructions else {})
