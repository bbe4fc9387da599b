"""Applications that cannot be installed here, by what they send and read."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from models import demo_models
from tests.support.http.replay import Recording, check, recordings, replay
from tests.support.server.process import ServerProcess

BOTH, RERANKER = recordings("both"), recordings("reranker")


@pytest.fixture(scope="module")
def reranker_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server without an embedder: what TEI's clients expect of one that reranks."""
    config = {"models": [{"path": demo_models()[1], "backend": "fake"}]}
    with ServerProcess(tmp_path_factory.mktemp("reranker"), config) as hearth:
        yield hearth.client


@pytest.mark.parametrize("recording", BOTH, ids=lambda each: each.name)
def test_an_application_reads_what_it_needs(recording: Recording, plain: httpx.Client) -> None:
    check(recording, replay(recording, plain), plain)


@pytest.mark.parametrize("recording", RERANKER, ids=lambda each: each.name)
def test_an_application_reads_what_it_needs_of_a_reranker_alone(
    recording: Recording, reranker_alone: httpx.Client
) -> None:
    check(recording, replay(recording, reranker_alone), reranker_alone)


@pytest.mark.parametrize("application", ["AnythingLLM", "Dify", "Open WebUI", "RAGFlow", "Spring AI"])
def test_each_application_is_there_with_its_source(application: str) -> None:
    sources = [each.source for each in (*BOTH, *RERANKER) if each.application == application]

    assert len(sources) >= 3
    assert all("@" in source for source in sources)


def _swapped(body: Any) -> Any:
    body["results"][0]["index"], body["results"][1]["index"] = body["results"][1]["index"], body["results"][0]["index"]
    return body


def _floats(body: Any) -> Any:
    body["data"][0]["embedding"] = [0.0] * 256
    return body


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("open-webui/rerank", _swapped),
        ("open-webui/rerank", lambda body: body | {"results": body["data"][:1]}),
        ("dify/localai-rerank", lambda body: body | {"results": body["data"]}),
        ("anythingllm/generic-openai-embeddings", _floats),
        ("open-webui/embeddings", lambda body: body | {"data": body["data"][::-1]}),
        ("spring-ai/embeddings", lambda body: body | {"usage": {"prompt_tokens": 1}}),
        ("dify/tei-info", lambda body: body | {"model_type": {"reranker": {}}}),
    ],
)
def test_an_answer_that_lacks_it_is_noticed(name: str, spoil: Callable[[Any], Any], plain: httpx.Client) -> None:
    recording = next(each for each in BOTH if each.name == name)
    answer = replay(recording, plain)

    spoilt = httpx.Response(200, json=spoil(answer.json()), headers={})

    with pytest.raises((AssertionError, KeyError, TypeError)):
        check(replace(recording, ignored=None), spoilt, plain)
