"""Fields of other servers that would change what a client reads: every one of them, on every route."""

from collections.abc import Iterator
from typing import Any

import pytest

from server.api.dialects.cohere import COHERE_ALIASES, CohereEmbedBody
from server.api.dialects.embeddings import EMBEDDING_ALIASES, EmbeddingsBody
from server.api.dialects.nim import RANKING_ALIASES, RankingBody
from server.api.dialects.openai import OpenAIRerankBody
from server.api.dialects.parsing import Fields
from server.api.dialects.rerank import RERANK_ALIASES, RerankBody
from server.api.dialects.tei import TEI_EMBED_ALIASES, TeiEmbedBody, TeiRerankBody
from server.api.dialects.tei_tasks import SimilarityBody
from server.api.dialects.vllm import SCORE_ALIASES, ScoreBody
from server.api.fields.unsupported import UNSUPPORTED
from server.api.tokenize_routes import DecodeBody, DetokenizeBody, TokenizeBody
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server

Body = dict[str, Any]

TEXTS: Body = {"query": "q", "documents": ["a"]}
SIMILARITY: Body = {"inputs": {"source_sentence": "a", "sentences": ["b"]}}
# Each route: its path, a body that it answers, the fields that it reads, and their further names.
ROUTES: list[tuple[str, Body, type[Fields], set[str]]] = [
    ("/v1/embeddings", {"input": "a"}, EmbeddingsBody, set(EMBEDDING_ALIASES)),
    ("/inference/v1/embeddings", {"input": "a"}, EmbeddingsBody, set(EMBEDDING_ALIASES)),
    ("/embed", {"inputs": "a"}, TeiEmbedBody, set(TEI_EMBED_ALIASES)),
    ("/", {"inputs": "a"}, TeiEmbedBody, set(TEI_EMBED_ALIASES)),
    ("/similarity", SIMILARITY, SimilarityBody, set()),
    ("/v1/embed", {"texts": ["a"]}, CohereEmbedBody, set(COHERE_ALIASES)),
    ("/v2/embed", {"texts": ["a"]}, CohereEmbedBody, set(COHERE_ALIASES)),
    ("/v1/rerank", TEXTS, OpenAIRerankBody, set(RERANK_ALIASES)),
    ("/inference/v1/rerank", TEXTS, RerankBody, set(RERANK_ALIASES)),
    ("/rerank", {"query": "q", "texts": ["a"]}, TeiRerankBody, set(RERANK_ALIASES)),
    ("/score", {"queries": "q", "documents": ["a"]}, ScoreBody, set(SCORE_ALIASES)),
    ("/tokenize", {"prompt": "a"}, TokenizeBody, set()),
    ("/detokenize", {"tokens": [64]}, DetokenizeBody, set()),
    ("/decode", {"ids": [64]}, DecodeBody, set()),
    ("/v1/ranking", {"query": {"text": "q"}, "passages": [{"text": "a"}]}, RankingBody, set(RANKING_ALIASES)),
]
# The values that clients send; any other field is sent as a word that no server knows.
SENT: dict[str, list[Any]] = {
    "output_dtype": ["int8", "uint8", "binary", "ubinary"],
    "embedding_types": [["int8"], ["float", "binary"]],
    "embedding_type": ["binary", "ubinary"],
    "encoding_format": ["int8", "base64"],
    "return_dense": [False],
    "normalize": [False],
    "normalized": ["false"],
    "add_special_tokens": [False],
    "priority": [5, -1],
    "use_activation": [False],
    "embd_normalize": [-1],
    "messages": [[{"role": "user", "content": "a"}]],
    "images": [["x"]],
    "rank_fields": [["title"]],
    "task": ["retrieval.query"],
    "input_type": ["query"],
} | {name: [True] for name, field in UNSUPPORTED.items() if field.without_effect == (False,)}


def _refused() -> Iterator[tuple[str, Body, str, Any]]:
    for path, body, fields, aliases in ROUTES:
        for name, field in UNSUPPORTED.items():
            if name not in {*fields.model_fields, *aliases} and fields.operation in field.operations:
                for value in SENT.get(name, ["unheard-of"]):
                    yield path, body, name, value


def _accepted() -> Iterator[tuple[str, Body, str, Any]]:
    for path, body, fields, _ in ROUTES:
        for name, field in UNSUPPORTED.items():
            if fields.operation in field.operations and name not in fields.model_fields:
                for value in field.without_effect:
                    yield path, body, name, value


async def test_every_route_with_a_body_is_in_the_list(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        documented = {path for path, operations in here.app.openapi()["paths"].items() if "post" in operations}

    assert documented == {path for path, *_ in ROUTES} - {"/rerank"}


async def test_each_is_refused_by_name_with_what_is_supported(embedder: ServedModel, reranker: ServedModel) -> None:
    wrong = []
    async with in_process_server(embedder, reranker) as here:
        for path, body, name, value in _refused():
            answer = await here.client.post(path, json={**body, name: value})
            if answer.status_code != 400 or f"Invalid '{name}'" not in answer.text or "out." not in answer.text:
                wrong.append((path, name, value, answer.status_code, answer.text[:200]))

    assert wrong == []
    assert here.backend.batches == []


async def test_what_asks_for_nothing_is_accepted_in_silence(embedder: ServedModel, reranker: ServedModel) -> None:
    wrong = []
    async with in_process_server(embedder, reranker) as here:
        for path, body, name, value in _accepted():
            answer = await here.client.post(path, json={**body, name: value})
            if answer.status_code != 200 or "x-hearth-ignored-fields" in answer.headers:
                wrong.append((path, name, value, answer.status_code, answer.text[:200]))

    assert wrong == []


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, body, *_ in ROUTES])
async def test_harmless_fields_are_named(embedder: ServedModel, reranker: ServedModel, path: str, body: Body) -> None:
    async with in_process_server(embedder, reranker) as here:
        answer = await here.client.post(path, json={**body, "foo": 1})

    assert (answer.status_code, answer.headers["x-hearth-ignored-fields"]) == (200, "foo")


async def test_a_list_of_one_encoding_is_that_one(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.embed("a", embedding_type=["base64"])

    assert isinstance(answer.json()["data"][0]["embedding"], str)


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/v1/embeddings", {"input": "a", "output_dimensions": 99}, 400),
        ("/v1/embeddings", {"input": "a", "outputDimensionality": 99}, 400),
        ("/v1/embeddings", {"input": "a", "encodingFormat": "base64"}, 200),
        ("/v1/embeddings", {"input": "a", "output_format": "int8"}, 400),
        ("/embed", {"inputs": "a", "encodingFormat": "base64"}, 400),
        ("/v1/rerank", {**TEXTS, "score_threshold": 0.5}, 400),
        ("/v1/rerank", {**TEXTS, "return_embeddings": True}, 400),
        ("/v1/embeddings", {"input": "a", "return_embeddings": True}, 200),
    ],
)
async def test_names_of_other_servers_are_read_or_refused(
    embedder: ServedModel, reranker: ServedModel, path: str, fields: Body, status: int
) -> None:
    async with in_process_server(embedder, reranker) as here:
        answer = await here.client.post(path, json=fields)

    assert answer.status_code == status, answer.text
    assert status == 200 or f"'{list(fields)[-1]}'" in answer.text


async def test_the_error_says_what_is_supported_and_the_fix(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.post("/embed", json={"inputs": "a", "encoding_format": "base64"})

    assert answer.json()["error"] == (
        "Invalid 'encoding_format': \"base64\" is not supported: this route writes vectors as JSON numbers; use "
        "/v1/embeddings with 'encoding_format'. Send \"float\", or leave it out."
    )
