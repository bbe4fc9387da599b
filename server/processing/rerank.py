"""How a rerank call is carried out, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from anyio import to_thread

from models import (
    ChatPrompt,
    Ids,
    PairPrompt,
    PrefixOrder,
    Qwen3RerankPrompt,
    Readout,
    cut,
    finish_scores,
    sort_by_prefix,
)
from server.config import RequestLimits
from server.errors import ArrayTooLong, EmptyArray, NoRoom, TooManyTokens, WrongModelKind
from server.processing.requests import RerankRequest, RerankResult
from server.processing.submit import Caller, Service, count_tokens, is_short, least_tokens
from server.registry import ServedModel

READOUT = Readout("score")
Prompt = Qwen3RerankPrompt | PairPrompt | ChatPrompt


@dataclass(frozen=True, slots=True)
class _Prompts:
    inputs: PrefixOrder
    warnings: tuple[str, ...]


async def rerank(call: RerankRequest, service: Service, caller: Caller) -> RerankResult:
    """The documents' scores and order, best first; equal scores keep the order of the request.

    Raises: ApiError, ClientGone.
    """
    model = service.registry.find(call.model, "reranker")
    prompt = _prompt_of(model, call.model)
    _check_count(call, service.limits)
    least = len(call.documents) if call.max_tokens_per_doc else min(least_tokens(caller), service.limits.rerank_tokens)
    service.engine.check_room(model.id, least, len(call.documents))
    with caller.trace.stage("tokenize"):
        prompts = (
            _prepare(call, model, prompt, service.limits)
            if is_short(caller, len(call.documents))
            else await to_thread.run_sync(_prepare, call, model, prompt, service.limits)
        )
    tokens = count_tokens(prompts.inputs.ids)
    caller.trace.note_work(model.id, len(call.documents), tokens)
    rows = await service.rows(model, prompts.inputs, READOUT, caller, f"{call.field}[{{}}]".format)
    scores = finish_scores(rows, raw=call.raw_scores)
    order = np.argsort(-scores, kind="stable")[: call.top_n]
    ignored = () if prompt.takes_instruction else call.task_names
    return RerankResult(call.model or model.id, tuple(order.tolist()), scores, tokens, prompts.warnings, ignored)


def _prompt_of(model: ServedModel, name: str | None) -> Prompt:
    if model.preprocessor.rerank is None:
        what = "an embedding model" if model.kind == "embedder" else "a language model"
        raise WrongModelKind(f"Model `{(name or model.id)[:64]}` is {what} and cannot rerank. Use POST /v1/embeddings.")
    return model.preprocessor.rerank


def _check_count(call: RerankRequest, limits: RequestLimits) -> None:
    if not call.documents:
        raise EmptyArray(call.field)
    if len(call.documents) > limits.documents:
        raise ArrayTooLong(call.field, limits.documents, len(call.documents))


def _prepare(call: RerankRequest, model: ServedModel, prompt: Prompt, limits: RequestLimits) -> _Prompts:
    maximum = model.preprocessor.info.max_tokens
    limit = min(call.truncate_prompt_tokens or maximum, maximum)
    heads = _heads(call, prompt, limit, model, limits)
    rooms = [limit - len(head) - len(prompt.suffix) for head in heads]
    if len(heads) == 1:
        heads, rooms = heads * len(call.documents), rooms * len(call.documents)
    documents = prompt.documents(call.documents)
    kept = [cut(ids, min(room, call.max_tokens_per_doc or room)) for ids, room in zip(documents, rooms, strict=True)]
    # Before the query is copied in front of every document.
    tokens = sum(map(len, heads)) + sum(map(len, kept)) + len(prompt.suffix) * len(kept)
    if tokens > limits.rerank_tokens:
        raise TooManyTokens(tokens, limits.rerank_tokens, call.field)
    inputs = sort_by_prefix([prompt.join(head, ids) for head, ids in zip(heads, kept, strict=True)])
    return _Prompts(inputs, _warnings(call.field, documents, kept))


def _heads(call: RerankRequest, prompt: Prompt, limit: int, model: ServedModel, limits: RequestLimits) -> list[Ids]:
    """What stands before each document."""
    instruction = call.task or model.config.instruction or model.preprocessor.instruction
    heads, tokens = list[Ids](), 0
    for index, query in enumerate(call.queries):
        heads.append(prompt.head(instruction, query))
        taken = len(heads[-1]) + len(prompt.suffix)
        # A document that is there needs room for a token; one that is empty still has the space before it.
        if taken >= limit:
            what = "truncate_prompt_tokens" if limit < model.preprocessor.info.max_tokens else "the model's maximum"
            where = f"{call.query_field}[{index}]" if len(call.queries) > 1 else call.query_field
            raise NoRoom(taken, limit, what, where)
        # Each head holds the instruction: a long one would be read and kept as often as there are queries.
        tokens += taken
        if tokens > limits.rerank_tokens:
            raise TooManyTokens(tokens, limits.rerank_tokens, call.field)
    return heads


def _warnings(field: str, documents: Sequence[Ids], kept: Sequence[Ids]) -> tuple[str, ...]:
    return tuple(
        f"{field}[{index}] was cut from {len(before)} to {len(after)} tokens"
        for index, (before, after) in enumerate(zip(documents, kept, strict=True))
        if len(after) < len(before)
    )
