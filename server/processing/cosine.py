"""Scores of documents by an embedding model: the cosine of the query's vector and the document's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import Ids, Matrix, NamedPrompts, finish_vectors
from server.config import RequestLimits
from server.errors import InputTooLong, TooManyTokens, WrongModelKind
from server.processing.requests import Label, RerankRequest, Texts, Truncation, label_of
from server.processing.tokenization import Between, TokenizedInputs, go_on, prepare_texts
from server.registry import ServedModel


@dataclass(frozen=True, slots=True)
class TextPairs:
    """The ids of each query and each document, and whether the query's prompt shows an instruction."""

    queries: list[Ids]
    documents: TokenizedInputs
    takes_instruction: bool


def prepare_pairs(
    request: RerankRequest, model: ServedModel, limits: RequestLimits, between: Between = go_on
) -> TextPairs:
    """Tokenize queries and documents as /v1/embeddings does, each behind its named prompt if the model has one.

    Documents are cut like a reranker's; a query that is too long is an error.

    Raises: ApiError.
    """
    prompts = model.preprocessor.prompts
    if prompts.by_name and not prompts.are_pooled:
        raise WrongModelKind(
            f"Model `{(request.model or model.id)[:64]}` leaves its prompt out of the mean, which is not supported, "
            "and so it cannot rerank. Use a reranker."
        )
    instructed = prompts.instructed(request.task) if request.task else prompts
    query_prompt = _prompt("query", instructed or prompts, model)
    texts = _behind(query_prompt, request.queries, request.query_field, is_list=len(request.queries) > 1)
    queries = prepare_texts(texts, Truncation(allowed=True), model, between)
    for index, count in queries.tokens_before_cut.items():
        raise InputTooLong(label_of(texts)(index), model.preprocessor.info.max_tokens, count, may_be_cut=False)
    document_prompt = _prompt("document", prompts, model)
    documents = prepare_texts(
        _behind(document_prompt, request.documents, request.field, is_list=True),
        _document_cut(request, document_prompt, model),
        model,
        between,
    )
    tokens = sum(map(len, queries.ids)) + sum(map(len, documents.ids))
    if tokens > limits.rerank_tokens:
        raise TooManyTokens(tokens, limits.rerank_tokens, request.field)
    return TextPairs(queries.ids, documents, takes_instruction=instructed is not None)


def label_pairs(request: RerankRequest) -> Label:
    """How errors name an input, by its index among the queries and the documents after them."""
    count = len(request.queries)
    query = label_of(Texts(request.queries, count > 1, request.query_field))
    document = label_of(Texts(request.documents, is_list=True, field=request.field))
    return lambda index: query(index) if index < count else document(index - count)


def cosine_scores(rows: Matrix, queries: int) -> NDArray[np.float32]:
    """The cosine of each document with its query, from the vectors of the queries and of the documents after them.

    Args:
        rows: the vectors, [queries + documents, width].
        queries: 1, or the number of documents.

    Returns: [documents] float32, from -1 to 1; 0 for a vector of zeros.
    """
    vectors = finish_vectors(rows, normalize=True).astype(np.float64)
    products = (vectors[:queries] * vectors[queries:]).sum(axis=1)
    scores: NDArray[np.float32] = np.clip(products, -1, 1).astype(np.float32)
    return scores


def _prompt(name: str, prompts: NamedPrompts, model: ServedModel) -> str:
    # The prompt of a name such as `name:query` is for that side alone.
    default = "" if model.is_prompted else model.config.prompt_name or ""
    return prompts.find(name) or prompts.find(default) or ""


def _behind(prompt: str, texts: Sequence[str], field: str, *, is_list: bool) -> Texts:
    return Texts(tuple(prompt + text for text in texts), is_list, field)


def _document_cut(request: RerankRequest, prompt: str, model: ServedModel) -> Truncation:
    tokenizer = model.preprocessor.tokenizer
    limits = [request.truncate_prompt_tokens] if request.truncate_prompt_tokens else []
    if request.max_tokens_per_doc:
        fixed = tokenizer.special_count + len(tokenizer.encode([prompt])[0])
        limits.append(fixed + request.max_tokens_per_doc)
    return Truncation(request.may_cut, min(limits, default=None), request.cut.side)
