"""The official OpenAI client against both base URLs, as its users have it."""

from collections.abc import Iterator

import numpy as np
import openai
import pytest

from tests.support.http.requests import BODIES, DOCUMENTS, FOX, QUERY, vector, vectors
from tests.support.server.process import ServerProcess


@pytest.fixture(params=["/v1", "/inference/v1"], ids=["openai", "fireworks"])
def client(request: pytest.FixtureRequest, plain_server: ServerProcess) -> Iterator[openai.OpenAI]:
    """A client whose base URL is each of the two; retries would hide a server that refuses for no reason."""
    with openai.OpenAI(base_url=plain_server.url + request.param, api_key="any", max_retries=0) as found:
        yield found


@pytest.fixture
def path(client: openai.OpenAI) -> str:
    """Where the client posts embeddings."""
    return client.base_url.path + "embeddings"


def test_09_the_default_call_gives_floats(client: openai.OpenAI, path: str, plain_server: ServerProcess) -> None:
    answer = client.embeddings.create(model="demo-embedding", input=FOX)

    assert answer.model == "demo-embedding"
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (10, 10)
    # The client asks for base64 by itself.
    assert np.array_equal(np.float32(answer.data[0].embedding), vector(plain_server.client, FOX, path))


def test_09_asked_for_floats_it_gives_the_same(client: openai.OpenAI, path: str, plain_server: ServerProcess) -> None:
    answer = client.embeddings.create(model="demo-embedding", input=FOX, encoding_format="float")

    assert np.array_equal(np.float32(answer.data[0].embedding), vector(plain_server.client, FOX, path))


def test_09_a_batch_comes_in_order(client: openai.OpenAI, path: str, plain_server: ServerProcess) -> None:
    answer = client.embeddings.create(model="demo-embedding", input=["a", "b", "c"])

    assert [item.index for item in answer.data] == [0, 1, 2]
    expected = vectors(plain_server.client, ["a", "b", "c"], path)
    assert np.array_equal(np.float32([item.embedding for item in answer.data]), expected)


def test_10_dimensions(client: openai.OpenAI, path: str, plain_server: ServerProcess) -> None:
    answer = client.embeddings.create(model="demo-embedding", input=FOX, dimensions=64)

    assert np.array_equal(np.float32(answer.data[0].embedding), vector(plain_server.client, FOX, path, dimensions=64))


def test_36_logits_through_extra_body(client: openai.OpenAI, path: str, plain_server: ServerProcess) -> None:
    asked = {"return_logits": [2753, 9454], "normalize": True}

    answer = client.embeddings.create(model="demo-reranker", input=BODIES, extra_body=asked)

    rows = np.float32([item.embedding for item in answer.data])
    assert rows.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(rows, vectors(plain_server.client, BODIES, path, **asked))


def test_28_token_ids(client: openai.OpenAI, path: str, plain_server: ServerProcess) -> None:
    answer = client.embeddings.create(model="demo-embedding", input=[0, 0, 0])

    assert answer.usage.total_tokens == 4
    assert np.array_equal(np.float32(answer.data[0].embedding), vector(plain_server.client, [0, 0, 0], path))


def test_73_a_bad_field_raises_bad_request_with_its_message(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="demo-embedding", input=FOX, dimensions=0)

    assert caught.value.status_code == 400
    assert caught.value.param == "dimensions"
    assert "must be between 1 and 256" in caught.value.message
    assert caught.value.request_id.startswith("req_")


def test_73_an_unknown_model_raises_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="nope", input=FOX)

    assert caught.value.request_id.startswith("req_")


def test_73_a_wrong_kind_raises_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="is a reranker and gives no embeddings"):
        client.embeddings.create(model="demo-reranker", input=FOX)


def test_79_the_request_id_is_the_servers(client: openai.OpenAI) -> None:
    answer = client.with_options(default_headers={"x-request-id": "mine-1"}).embeddings.with_raw_response.create(
        model="demo-embedding", input=FOX
    )

    assert answer.request_id == "mine-1"


def test_69_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    listed = client.models.list()

    assert [model.id for model in listed.data] == ["demo-embedding", "demo-reranker"]
    assert client.models.retrieve("fireworks/demo-reranker").id == "fireworks/demo-reranker"


def test_54_rerank_through_the_same_client(client: openai.OpenAI) -> None:
    answer = client.post("/rerank", body={"query": QUERY, "documents": DOCUMENTS}, cast_to=object)

    assert len(answer["data"]) == len(DOCUMENTS)
