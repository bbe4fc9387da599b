"""Serves a parsed rerank request, step by step: with a reranker's prompts, or with an embedder's vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import (
    Ids,
    Matrix,
    PrefixOrder,
    Readout,
    RerankPrompt,
    TextIds,
    TextLimit,
    cut,
    finish_scores,
    sort_by_prefix,
)
from server.config import RequestLimits
from server.errors import ArrayTooLong, EmptyArray, InputTooLong, NoRoom, TooManyTokens, WrongModelKind
from server.processing.context import RequestContext, ServingContext
from server.processing.cosine import cosine_scores, label_pairs, prepare_pairs
from server.processing.requests import Label, RerankRequest, RerankResult
from server.processing.submit import submit
from server.processing.tokenization import Between, counted, go_on, readable_characters
from server.registry import ServedModel


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The inputs of a request, and how their rows become scores in the order of the documents."""

    inputs: PrefixOrder
    warnings: tuple[str, ...]
    takes_instruction: bool
    label: Label
    readout: Readout
    scores_of: Callable[[Matrix], NDArray[np.float32]]
    # Texts that spell out a control token.
    spelt_out: int
    method: str | None = None


Prepare = Callable[[RerankRequest, ServedModel, RequestLimits, Between], _Prepared]


async def rerank(request: RerankRequest, serving: ServingContext, context: RequestContext) -> RerankResult:
    """Score the documents and order them, best first; equal scores keep the order of the request.

    Raises: ApiError, ClientGone.
    """
    limits = serving.limits
    model = serving.registry.find(request.model, "reranker", "embedder")
    prepare = _choose(model, request.model)
    _check_count(request, limits)
    fewest = _fewest_tokens(request, context, limits)
    serving.engine.check_room(model.id, fewest, len(request.documents), caller=context.caller, left_s=context.left_s())
    with context.trace.stage("tokenize"):
        if context.is_short(len(request.documents)):
            prepared = prepare(request, model, limits, go_on)
        else:
            prepared = await serving.work.tokenize(
                lambda between: prepare(request, model, limits, counted(between, limits.rerank_tokens, request.field)),
                _characters(request, model),
                request.field,
                context,
            )
    tokens = prepared.inputs.tokens
    context.trace.note_work(model.id, len(request.documents), tokens)
    context.trace.control_tokens = prepared.spelt_out
    rows = await submit(
        prepared.inputs, prepared.readout, model, serving=serving, context=context, label=prepared.label
    )
    scores = prepared.scores_of(rows)
    order = np.argsort(-scores, kind="stable")[: request.top_n]
    ignored = () if prepared.takes_instruction else request.task_names
    name = request.model or model.id
    return RerankResult(name, tuple(order.tolist()), scores, tokens, prepared.warnings, ignored, prepared.method)


def _choose(model: ServedModel, name: str | None) -> Prepare:
    if model.kind == "llm":
        shown = (name or model.id)[:64]
        raise WrongModelKind(
            f"Model `{shown}` is a language model and cannot rerank. Use POST /v1/embeddings. If it is a "
            "reranker, set `kind: reranker` for it in the server's configuration."
        )
    return _prepare_prompts if model.kind == "reranker" else _prepare_vectors


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


def _characters(request: RerankRequest, model: ServedModel) -> int:
    """About how many characters of text will be read."""
    texts = (request.task or "", *request.queries, *request.documents)
    return readable_characters(texts, TextLimit(model.preprocessor.info.max_tokens))


def _prepare_vectors(request: RerankRequest, model: ServedModel, limits: RequestLimits, between: Between) -> _Prepared:
    pairs = prepare_pairs(request, model, limits, between)
    ids, before = pairs.documents.ids, pairs.documents.tokens_before_cut
    queries = len(pairs.queries)
    return _Prepared(
        inputs=sort_by_prefix([*pairs.queries, *ids]),
        warnings=tuple(_cut_warning(request, index, tokens, len(ids[index])) for index, tokens in before.items()),
        takes_instruction=pairs.takes_instruction,
        label=label_pairs(request),
        readout=Readout("vector"),
        scores_of=lambda rows: cosine_scores(rows, queries),
        spelt_out=_spelt_out(request, model),
        method="cosine",
    )


def _prepare_prompts(request: RerankRequest, model: ServedModel, limits: RequestLimits, between: Between) -> _Prepared:
    prompt, maximum = model.preprocessor.rerank, model.preprocessor.info.max_tokens
    assert prompt is not None, "a reranker has a prompt form"
    limit = min(request.truncate_prompt_tokens or maximum, maximum)
    heads = _heads(request, prompt, limit, model, limits, between)
    rooms = [limit - len(head) - len(prompt.suffix) for head in heads]
    if len(heads) == 1:
        heads, rooms = heads * len(request.documents), rooms * len(request.documents)
    # Up to the model's maximum, whatever is cut then: warnings tell how long a document was.
    documents = prompt.read_documents(request.documents, TextLimit(maximum, request.cut.side, between))
    bodies = _cut_documents(documents, rooms, request, limit)
    # Checked before the query is copied in front of every document.
    tokens = sum(map(len, heads)) + sum(map(len, bodies)) + len(prompt.suffix) * len(bodies)
    if tokens > limits.rerank_tokens:
        raise TooManyTokens(tokens, limits.rerank_tokens, request.field)
    return _Prepared(
        inputs=sort_by_prefix([prompt.join(head, ids) for head, ids in zip(heads, bodies, strict=True)]),
        warnings=_warnings(request, documents, bodies),
        takes_instruction=prompt.takes_instruction,
        label=f"{request.field}[{{}}]".format,
        readout=Readout("score"),
        scores_of=lambda rows: finish_scores(rows, raw=request.raw_scores),
        spelt_out=_spelt_out(request, model),
    )


def _spelt_out(request: RerankRequest, model: ServedModel) -> int:
    texts = (request.task or "", *request.queries, *request.documents)
    return model.preprocessor.tokenizer.count_spelt_out(texts, TextLimit(model.preprocessor.info.max_tokens))


def _cut_documents(documents: TextIds, rooms: Sequence[int], request: RerankRequest, limit: int) -> list[Ids]:
    if not request.may_cut:
        for index, (ids, room) in enumerate(zip(documents.ids, rooms, strict=True)):
            is_whole = index not in documents.partial
            if len(ids) > room or not is_whole:
                tokens = limit - room + len(ids) if is_whole else None
                raise InputTooLong(f"{request.field}[{index}]", limit, tokens, may_be_cut=True)
    most, side = request.max_tokens_per_doc, request.cut.side
    return [cut(ids, min(room, most or room), side) for ids, room in zip(documents.ids, rooms, strict=True)]


def _heads(
    request: RerankRequest,
    prompt: RerankPrompt,
    limit: int,
    model: ServedModel,
    limits: RequestLimits,
    between: Between,
) -> list[Ids]:
    """The tokens before each document: one head for all, or one for each query."""
    instruction = request.task or model.config.instruction or model.preprocessor.instruction
    heads, tokens, text_limit = list[Ids](), 0, TextLimit(model.preprocessor.info.max_tokens, between=between)
    for index, query in enumerate(request.queries):
        heads.append(prompt.head(instruction, query, text_limit))
        fixed = len(heads[-1]) + len(prompt.suffix)
        # A document needs room for a token; even an empty one has a space before it.
        if fixed >= limit:
            what = "truncate_prompt_tokens" if limit < model.preprocessor.info.max_tokens else "the model's maximum"
            where = f"{request.query_field}[{index}]" if len(request.queries) > 1 else request.query_field
            is_counted = not text_limit.is_long(instruction + query)
            raise NoRoom(fixed if is_counted else None, limit, what, where)
        # Checked in the loop: a long instruction would otherwise be tokenized and stored once per query.
        tokens += fixed
        if tokens > limits.rerank_tokens:
            raise TooManyTokens(tokens, limits.rerank_tokens, request.field)
    return heads


def _warnings(request: RerankRequest, documents: TextIds, bodies: Sequence[Ids]) -> tuple[str, ...]:
    before = [None if index in documents.partial else len(ids) for index, ids in enumerate(documents.ids)]
    return tuple(
        _cut_warning(request, index, tokens, len(body))
        for index, (tokens, body) in enumerate(zip(before, bodies, strict=True))
        if tokens is None or len(body) < tokens
    )


def _cut_warning(request: RerankRequest, index: int, before: int | None, after: int) -> str:
    length = "" if before is None else f"from {before} "
    return f"{request.field}[{index}] was cut {length}to {after} tokens"
