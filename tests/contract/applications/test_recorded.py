"""Applications that cannot be installed here, by what they send and read."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from models import demo_models
from tests.support.docs import DOCS
from tests.support.http.replay import Recording, check, recordings, replay
from tests.support.server.process import ServerProcess

BOTH, RERANKER = recordings("both"), recordings("reranker")
CLIENTS = (DOCS / "clients.md").read_text("utf-8")
# Repository, commit or tag, and then the file or class.
SOURCE = re.compile(r"[\w.-]+/[\w.-]+@(v[\d.]+|[0-9a-f]{8,40}) \S")


@pytest.fixture(scope="module")
def reranker_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Start a server without an embedder, which TEI's clients expect for rerank."""
    config = {"models": [{"path": demo_models()[1], "backend": "fake"}]}
    with ServerProcess(tmp_path_factory.mktemp("reranker"), config) as hearth:
        yield hearth.client


@pytest.mark.parametrize("recording", BOTH, ids=lambda recording: recording.name)
def test_an_application_reads_what_it_needs(recording: Recording, plain: httpx.Client) -> None:
    check(recording, replay(recording, plain), plain)


@pytest.mark.parametrize("recording", RERANKER, ids=lambda recording: recording.name)
def test_an_application_reads_what_it_needs_of_a_reranker_alone(
    recording: Recording, reranker_alone: httpx.Client
) -> None:
    check(recording, replay(recording, reranker_alone), reranker_alone)


@pytest.mark.parametrize("recording", [*BOTH, *RERANKER], ids=lambda recording: recording.name)
def test_a_recording_names_its_source_and_the_page_its_application(recording: Recording) -> None:
    assert SOURCE.match(recording.source)
    assert recording.application in CLIENTS


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
        ("weaviate/text2vec-cohere", lambda body: body | {"embeddings": {"float": body["embeddings"]["float"][::-1]}}),
        ("langchain4j/cohere-rerank", lambda body: body | {"meta": {}}),
        ("dify/tei-info", lambda body: body | {"model_type": {"reranker": {}}}),
    ],
)
def test_a_response_that_lacks_it_is_noticed(name: str, spoil: Callable[[Any], Any], plain: httpx.Client) -> None:
    recording = next(recording for recording in BOTH if recording.name == name)
    response = replay(recording, plain)

    spoilt = httpx.Response(200, json=spoil(response.json()), headers={})

    with pytest.raises((AssertionError, KeyError, TypeError)):
        check(replace(recording, ignored=None), spoilt, plain)
