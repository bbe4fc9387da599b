"""Text-embeddings-inference's root and /similarity."""

from typing import Any

import numpy as np
import pytest

from server.config import Auth
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server


@pytest.mark.parametrize("path", ["/", "/invocations", "//"])
async def test_the_root_embeds(embedder: ServedModel, path: str) -> None:
    async with in_process_server(embedder) as here:
        root = await here.client.post(f"http://hearth{path}", json={"inputs": ["a", "b"], "normalize": False})
        embed = await here.client.post("/embed", json={"inputs": ["a", "b"], "normalize": False})

    assert root.status_code == 200
    assert root.json() == embed.json()


async def test_the_root_reranks_texts(reranker: ServedModel) -> None:
    body = {"query": "q", "texts": ["a", "b"], "return_text": True, "raw_scores": True}
    async with in_process_server(reranker) as here:
        root, rerank = [await here.client.post(path, json=body) for path in ("/", "/rerank")]

    assert root.status_code == 200
    assert root.json() == rerank.json()


async def test_the_root_compares_sentences(embedder: ServedModel) -> None:
    body = {"inputs": {"source_sentence": "a", "sentences": ["b", "c"]}}
    async with in_process_server(embedder) as here:
        root, similarity = [await here.client.post(path, json=body) for path in ("/", "/similarity")]

    assert root.status_code == 200
    assert root.json() == similarity.json()


@pytest.mark.parametrize(
    ("body", "error_type"),
    [({}, "Validation"), ({"inputs": []}, "Empty"), ({"query": "q"}, "Validation"), ({"texts": []}, "Validation")],
)
async def test_errors_of_the_root_are_flat(embedder: ServedModel, body: dict[str, Any], error_type: str) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.post("/", json=body)

    assert answer.status_code == 400
    assert (list(answer.json()), answer.json()["error_type"]) == (["error", "error_type"], error_type)


async def test_81_the_root_computes_only_with_a_key(embedder: ServedModel) -> None:
    async with in_process_server(embedder, auth=Auth(keys=("k",))) as here:
        page = await here.client.get("/")
        without = await here.client.post("/", json={"inputs": "a"})
        with_key = await here.client.post("/", json={"inputs": "a"}, headers={"authorization": "Bearer k"})

    assert (page.status_code, without.status_code, with_key.status_code) == (200, 401, 200)


async def test_a_similarity_is_the_cosine_of_unit_vectors(embedder: ServedModel) -> None:
    sentences = ["b", "a longer one", "a"]
    async with in_process_server(embedder) as here:
        body = {"inputs": {"source_sentence": "a", "sentences": sentences}}
        cosines = (await here.client.post("/similarity", json=body)).json()
        vectors = np.float32((await here.client.post("/embed", json={"inputs": [*sentences, "a"]})).json())

    assert cosines == pytest.approx(list(vectors[:-1] @ vectors[-1]), abs=1e-6)
    assert cosines[2] == pytest.approx(1)


async def test_a_similarity_takes_the_parameters_of_embed(embedder: ServedModel) -> None:
    inputs = {"source_sentence": "a", "sentences": ["b"]}
    async with in_process_server(embedder) as here:
        plain = await here.client.post("/similarity", json={"inputs": inputs})
        parameters = {"prompt_name": "query", "truncate": None, "top": 1}
        prompted = await here.client.post("/similarity", json={"inputs": inputs, "parameters": parameters, "x": 1})

    assert prompted.status_code == 200
    assert prompted.json() != plain.json()
    assert prompted.headers["x-hearth-ignored-fields"] == "x,parameters.top"


@pytest.mark.parametrize("path", ["/", "/embed"])
async def test_parameters_may_be_where_pipelines_have_them(embedder: ServedModel, path: str) -> None:
    parameters = {"dimensions": 4, "truncate": None, "top": 1}

    async with in_process_server(embedder) as here:
        answer = await here.client.post(path, json={"inputs": "a", "parameters": parameters})
        refused = await here.client.post(path, json={"inputs": "a", "parameters": {"late_chunking": True}})

    assert [len(vector) for vector in answer.json()] == [4]
    assert answer.headers["x-hearth-ignored-fields"] == "top"
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a"], "Invalid 'inputs': expected an object with 'source_sentence' and 'sentences'."),
        ({"sentences": ["a"]}, "Missing required parameter: 'inputs.source_sentence'."),
        ({"source_sentence": "a"}, "Missing required parameter: 'inputs.sentences'."),
        ({"source_sentence": 1, "sentences": ["a"]}, "Invalid 'inputs.source_sentence': expected a string."),
        ({"source_sentence": "a", "sentences": "b"}, "Invalid 'inputs.sentences': expected a list of strings."),
        ({"source_sentence": "a", "sentences": [1]}, "Invalid 'inputs.sentences': expected a list of strings."),
        (
            {"source_sentence": "a", "sentences": ["b", "c" * 2000]},
            "Invalid 'inputs.sentences[1]': maximum input length is 1000 tokens",
        ),
    ],
)
async def test_a_bad_similarity_request_is_refused(embedder: ServedModel, inputs: Any, message: str) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.post("/similarity", json={"inputs": inputs})

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message)
