"""docs/migrating.md: each of its configurations starts a server, and each of its programs runs against it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models import demo_models
from tests.support.docs import KEY, configuration, run_python, run_shell, sections
from tests.support.http.requests import openai_error
from tests.support.server.process import ServerProcess

SECTIONS = {section.title: section for section in sections("migrating.md")}
COMMON, OPENAI, FIREWORKS = "What every move has in common", "From OpenAI", "From Fireworks"
TEI, INFINITY, VLLM = "From text-embeddings-inference", "From Infinity", "From vLLM"
# What the tests below run: the page may show nothing else.
RUN = {
    COMMON: {"sh": 1, "yaml": 1},
    OPENAI: {"python": 1, "yaml": 2},
    FIREWORKS: {"sh": 2, "yaml": 1},
    TEI: {"sh": 2, "yaml": 1},
    INFINITY: {"sh": 1, "yaml": 1},
    VLLM: {"sh": 2, "yaml": 1},
}
# cl100k_base: " is" over and over.
CL100K_IDS = [374] * 20


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerProcess]]:
    """A server with the configuration of a section, started at its first use."""
    with ExitStack() as stack:

        @cache
        def start(title: str, number: int = 0) -> ServerProcess:
            folder = tmp_path_factory.mktemp("shown")
            config = configuration(SECTIONS[title].code("yaml")[number])
            # No vocabulary of OpenAI's, wherever this machine may keep one.
            hearth = stack.enter_context(ServerProcess(folder, config, environment={"TIKTOKEN_CACHE_DIR": str(folder)}))
            hearth.client.headers["Authorization"] = f"Bearer {KEY}"
            return hearth

        yield start


@pytest.fixture
def ask(serve: Callable[..., ServerProcess]) -> Callable[..., Any]:
    """The JSON that a section's command prints, with the section's configuration served."""
    return lambda title, number=0: json.loads(run_shell(SECTIONS[title].code("sh")[number], serve(title).url))


def _norms(rows: list[list[float]]) -> list[float]:
    return [float(np.linalg.norm(row)) for row in rows]


def _embeddings(answer: Any) -> list[list[float]]:
    return [item["embedding"] for item in answer["data"]]


def test_every_block_of_the_page_is_run_here() -> None:
    shown = {title: Counter(language for language, _ in section.blocks) for title, section in SECTIONS.items()}

    assert shown == RUN


@pytest.mark.parametrize("title", SECTIONS)
def test_each_configuration_is_served_under_its_names(title: str, serve: Callable[..., ServerProcess]) -> None:
    config = configuration(SECTIONS[title].code("yaml")[0])

    listed = serve(title).client.get("/v1/models").json()["data"]

    assert [model["id"] for model in listed] == [
        name for model in config["models"] for name in (model["id"], *model.get("aliases", ()))
    ]


@pytest.mark.parametrize("name", ["qwen3-embedding-0.6b", "fireworks/qwen3-embedding-0p6b", "text-embedding-3-small"])
def test_a_name_that_is_hard_coded_reaches_the_model(name: str, serve: Callable[..., ServerProcess]) -> None:
    answer = serve(COMMON).client.post("/v1/embeddings", json={"model": name, "input": "a"})

    assert answer.json()["model"] == name


@pytest.mark.parametrize(("backend", "status"), [("auto", 0), ("fake", 1)])
def test_a_comparison_tells_the_same_model_from_another(backend: str, status: int, tmp_path: Path) -> None:
    (command,) = SECTIONS[COMMON].code("sh")
    embedder = demo_models()[0]
    there = {"path": embedder, "id": "qwen3-embedding", "backend": backend}

    with ServerProcess(tmp_path, {"models": [there], "auth": {"keys": [KEY]}}) as hearth:
        here = command.replace("Qwen/Qwen3-Embedding-0.6B", embedder).replace("https://api.example.com", hearth.url)
        said = run_shell(here, hearth.url, status)

    assert "worst cosine" in said


def test_openai_s_program_gets_unit_vectors_and_another_one_for_a_query(serve: Callable[..., ServerProcess]) -> None:
    hearth = serve(OPENAI)

    variables = run_python(SECTIONS[OPENAI].code("python")[0], hearth.url)

    (document,), (query,) = ([item.embedding for item in variables[name].data] for name in ("documents", "query"))
    bare = hearth.client.post("/v1/embeddings", json={"input": "How do I get my money back?"}).json()
    assert _norms([document, query]) == pytest.approx([1, 1], abs=1e-5)
    assert not np.allclose(query, _embeddings(bare)[0])


def test_openai_s_rate_limit_headers_do_not_come(serve: Callable[..., ServerProcess]) -> None:
    answer = serve(OPENAI).client.post("/v1/embeddings", json={"input": ""})

    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_openai_s_token_ids_need_their_vocabulary(serve: Callable[..., ServerProcess]) -> None:
    answer = serve(OPENAI, 1).client.post("/v1/embeddings", json={"input": [CL100K_IDS]})

    assert openai_error(answer, 400)["code"] == "foreign_token_ids"


def test_fireworks_vectors_are_raw(ask: Callable[..., Any]) -> None:
    answer = ask(FIREWORKS)

    assert answer["model"] == "fireworks/qwen3-embedding-8b"
    assert _norms(_embeddings(answer)) != pytest.approx([1], abs=1e-3)


def test_fireworks_rerank_has_fireworks_keys(ask: Callable[..., Any]) -> None:
    answer = ask(FIREWORKS, 1)

    assert set(answer) == {"object", "model", "data", "usage"}
    assert [set(item) for item in answer["data"]] == [{"index", "relevance_score", "document"}]


def test_tei_s_routes_answer_as_tei_does(ask: Callable[..., Any]) -> None:
    assert _norms(ask(TEI)) == pytest.approx([1], abs=1e-5)
    assert [set(row) for row in ask(TEI, 1)] == [{"index", "score"}] * 2


@pytest.mark.parametrize(
    ("name", "kind"), [("BAAI/bge-base-en-v1.5", "embedding"), ("Qwen/Qwen3-Reranker-0.6B", "reranker")]
)
def test_tei_s_info_tells_of_both_models(name: str, kind: str, serve: Callable[..., ServerProcess]) -> None:
    info = serve(TEI).client.get("/info", params={"model": name}).json()

    assert list(info["model_type"]) == [kind]


@pytest.mark.parametrize("path", ["/embed_all", "/embed_sparse", "/predict", "/pooling", "/classify"])
def test_a_route_that_is_said_to_be_missing_is(path: str, serve: Callable[..., ServerProcess]) -> None:
    assert openai_error(serve(TEI).client.post(path, json={}), 404)["code"] == "unknown_url"


def test_infinity_s_paths_need_no_prefix(ask: Callable[..., Any]) -> None:
    assert _norms(_embeddings(ask(INFINITY))) == pytest.approx([1], abs=1e-5)


def test_infinity_s_documents_are_objects_here(serve: Callable[..., ServerProcess]) -> None:
    answer = serve(INFINITY).client.post("/rerank", json={"query": "a", "documents": ["b"]}).json()

    assert answer["results"][0]["document"] == {"text": "b"}
    assert answer["data"][0]["document"] == "b"


def test_vllm_s_routes_answer_as_vllm_does(ask: Callable[..., Any]) -> None:
    assert _norms(_embeddings(ask(VLLM))) == pytest.approx([1], abs=1e-5)
    assert [item["index"] for item in ask(VLLM, 1)["data"]] == [0]


def test_vllm_s_largest_length_is_a_setting(serve: Callable[..., ServerProcess]) -> None:
    listed = serve(VLLM).client.get("/v1/models").json()["data"]

    assert listed[0]["context_length"] == 8192


@pytest.mark.parametrize("path", ["/rerank", "/score", "/v1/embeddings", "/info"])
def test_a_key_guards_every_route(path: str, serve: Callable[..., ServerProcess]) -> None:
    assert httpx.post(serve(VLLM).url + path, json={}, trust_env=False).status_code == 401
