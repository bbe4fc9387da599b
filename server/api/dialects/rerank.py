"""The fields of a rerank request that both doors share, and how they become a call."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from server.api import openapi as schemas
from server.api.dialects.parsing import Fields, JsonObject, WireBool, WireInt, rename, spelling
from server.errors import InvalidValue
from server.processing.requests import RerankRequest

TASK_NAMES = ("task", "instruction", "instruct")
ALIASES = {"top_k": "top_n", "max_doc_length": "max_tokens_per_doc"}
NAMES = ALIASES | dict.fromkeys(TASK_NAMES[1:], "task")
SILENT = (
    "user",
    "priority",
    "max_chunks_per_doc",
    "prompt_cache_key",
    "fanout_size",
    "request_id",
    "truncate",
)


class RerankBody(Fields):
    """A rerank request."""

    query: str
    """What is searched for."""
    documents: Annotated[Any, WithJsonSchema(schemas.array(schemas.STRING, 1))]
    """The texts to score."""
    model: str | None = None
    """A served reranker, by id, alias or any of the spellings that clients use; by default the first."""
    top_n: WireInt | None = None
    """How many results; by default all."""
    return_documents: WireBool = True
    """Whether results carry their documents."""
    task: str | None = None
    """What makes a document relevant to the query, in a sentence."""
    max_tokens_per_doc: WireInt | None = Field(default=None, ge=0)
    """Cut each document to so many tokens; 0 is no cut."""
    truncate_prompt_tokens: WireInt | None = None
    """Cut documents so that each whole prompt takes so many tokens; -1 is the model's maximum."""


def with_one_task(body: JsonObject) -> JsonObject:
    """The body with the instruction under `task`, whatever name it came under, and other aliases renamed.

    Raises: ApiError: two names with different texts.
    """
    template = body.get("chat_template_kwargs")
    inner = template.get("instruction") if isinstance(template, dict) else None
    # "" is the default instruction; anything else that is no string is refused by the field.
    sent = {name: body[name] for name in TASK_NAMES if body.get(name, "") != ""}
    sent |= {"chat_template_kwargs": inner} if inner else {}
    if len({str(text) for text in sent.values()}) > 1:
        raise InvalidValue(list(sent)[-1], f"differs from '{next(iter(sent))}'; send the instruction once.")
    rest = {name: value for name, value in body.items() if name not in TASK_NAMES}
    if inner:
        rest.pop("chat_template_kwargs")
    return rename(rest, ALIASES) | ({"task": next(iter(sent.values()))} if sent else {})


def task_names(body: JsonObject) -> tuple[str, ...]:
    """The names under which an instruction was sent, in request order."""
    template = body.get("chat_template_kwargs")
    sent = {name: body.get(name) for name in TASK_NAMES}
    sent["chat_template_kwargs"] = template.get("instruction") if isinstance(template, dict) else None
    return tuple(name for name in body if sent.get(name))


def spelling_of(body: JsonObject) -> Mapping[str, str]:
    """What errors call the fields that came under another name than their own, the instruction included."""
    tasks = task_names(body)
    return spelling(body, NAMES) | ({"task": tasks[0]} if tasks and "task" not in tasks else {})


def prompt_limit(tokens: int | None) -> int | None:
    """`truncate_prompt_tokens` as a limit; None is the model's maximum.

    Raises: InvalidValue.
    """
    if tokens is not None and (tokens == 0 or tokens < -1):
        raise InvalidValue("truncate_prompt_tokens", "expected an integer ≥ 1, or -1 for the model's maximum.")
    return None if tokens == -1 else tokens


def make_call(
    fields: RerankBody,
    texts: Sequence[str],
    top_n: int | None,
    *,
    raw_scores: bool = False,
    field: str = "documents",
    tasks: tuple[str, ...] = (),
    spelt: Mapping[str, str],
) -> RerankRequest:
    """The call that a body asks for; `spelt` as in parse().

    Raises: ApiError.
    """
    if top_n is not None and top_n < 1:
        raise InvalidValue(spelt.get("top_n", "top_n"), "expected an integer ≥ 1.")
    return RerankRequest(
        model=fields.model,
        queries=(fields.query,),
        documents=tuple(texts),
        top_n=top_n,
        task=fields.task,
        raw_scores=raw_scores,
        max_tokens_per_doc=fields.max_tokens_per_doc or None,
        truncate_prompt_tokens=prompt_limit(fields.truncate_prompt_tokens),
        field=field,
        task_names=tasks,
    )
