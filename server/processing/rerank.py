"""Serves a parsed rerank request, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from anyio import to_thread

from models import (
    Ids,
    PrefixOrder,
    Readout,
    RerankPrompt,
    cut,
    finish_scores,
    sort_by_prefix,
)
from server.config import RequestLimits
from server.errors import ArrayTooLong, EmptyArray, NoRoom, TooManyTokens, WrongModelKind
from server.processing.context import RequestContext, ServingContext
from server.processing.requests import RerankRequest, RerankResult
from server.processing.submit import submit
from server.registry import ServedModel


@dataclass(frozen=True, slots=True)
class _Prompts:
    inputs: PrefixOrder
    warnings: tuple[str, ...]


async def rerank(request: RerankRequest, serving: ServingContext, context: RequestContext) -> RerankResult:
    """Score the documents and order them, best first; equal scores keep the order of the request.

    Raises: ApiError, ClientGone.
    """
    limits = serving.limits
    model = serving.registry.find(request.model, "reranker")
    prompt = _prompt_of(model, request.model)
    _check_count(request, limits)
    serving.engine.check_room(model.id, _fewest_tokens(request, context, limits), len(request.documents))
    with context.trace.stage("tokenize"):
        prompts = (
            _prepare(request, model, prompt, limits)
            if context.is_short(len(request.documents))
            else await to_thread.run_sync(_prepare, request, model, prompt, limits)
        )
    tokens = prompts.inputs.tokens
    context.trace.note_work(model.id, len(request.documents), tokens)
    label = f"{request.field}[{{}}]".format
    rows = await submit(prompts.inputs, Readout("score"), model, serving=serving, context=context, label=label)
    scores = finish_scores(rows, raw=request.raw_scores)
    order = np.argsort(-scores, kind="stable")[: request.top_n]
    ignored = () if prompt.takes_instruction else request.task_names
    return RerankResult(request.model or model.id, tuple(order.tolist()), scores, tokens, prompts.warnings, ignored)


def _prompt_of(model: ServedModel, name: str | None) -> RerankPrompt:
    if model.preprocessor.rerank is None:
        kind = "an embedding model" if model.kind == "embedder" else "a language model"
        raise WrongModelKind(f"Model `{(name or model.id)[:64]}` is {kind} and cannot rerank. Use POST /v1/embeddings.")
    return model.preprocessor.rerank


def _check_count(request: RerankRequest, limits: RequestLimits) -> None:
    if not request.documents:
        raise EmptyArray(request.field)
    if len(request.documents) > limits.documents:
        raise ArrayTooLong(request.field, limits.documents, len(request.documents))


def _fewest_tokens(request: RerankRequest, context: RequestContext, limits: RequestLimits) -> int:
    # The size of the body says nothing about documents that are cut.
    if request.max_tokens_per_doc:
        return len(request.documents)
    return min(context.fewest_tokens(), limits.rerank_tokens)


def _prepare(request: RerankRequest, model: ServedModel, prompt: RerankPrompt, limits: RequestLimits) -> _Prompts:
    maximum = model.preprocessor.info.max_tokens
    limit = min(request.truncate_prompt_tokens or maximum, maximum)
    heads = _heads(request, prompt, limit, model, limits)
    rooms = [limit - len(head) - len(prompt.suffix) for head in heads]
    if len(heads) == 1:
        heads, rooms = heads * len(request.documents), rooms * len(request.documents)
    documents = prompt.documents(request.documents)
    bodies = [
        cut(ids, min(room, request.max_tokens_per_doc or room)) for ids, room in zip(documents, rooms, strict=True)
    ]
    # Checked before the query is copied in front of every document.
    tokens = sum(map(len, heads)) + sum(map(len, bodies)) + len(prompt.suffix) * len(bodies)
    if tokens > limits.rerank_tokens:
        raise TooManyTokens(tokens, limits.rerank_tokens, request.field)
    inputs = sort_by_prefix([prompt.join(head, ids) for head, ids in zip(heads, bodies, strict=True)])
    return _Prompts(inputs, _warnings(request.field, documents, bodies))


def _heads(
    request: RerankRequest, prompt: RerankPrompt, limit: int, model: ServedModel, limits: RequestLimits
) -> list[Ids]:
    """The tokens before each document: one head for all, or one for each query."""
    instruction = request.task or model.config.instruction or model.preprocessor.instruction
    heads, tokens = list[Ids](), 0
    for index, query in enumerate(request.queries):
        heads.append(prompt.head(instruction, query))
        fixed = len(heads[-1]) + len(prompt.suffix)
        # A document needs room for a token; even an empty one has a space before it.
        if fixed >= limit:
            what = "truncate_prompt_tokens" if limit < model.preprocessor.info.max_tokens else "the model's maximum"
            where = f"{request.query_field}[{index}]" if len(request.queries) > 1 else request.query_field
            raise NoRoom(fixed, limit, what, where)
        # Checked in the loop: a long instruction would otherwise be tokenized and stored once per query.
        tokens += fixed
        if tokens > limits.rerank_tokens:
            raise TooManyTokens(tokens, limits.rerank_tokens, request.field)
    return heads


def _warnings(field: str, documents: Sequence[Ids], bodies: Sequence[Ids]) -> tuple[str, ...]:
    return tuple(
        f"{field}[{index}] was cut from {len(document)} to {len(body)} tokens"
        for index, (document, body) in enumerate(zip(documents, bodies, strict=True))
        if len(body) < len(document)
    )
