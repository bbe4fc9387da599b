"""What a path means: doubled slashes and base URLs, and what is near to a path that means nothing."""

from time import perf_counter

import pytest

from server.api.app import create_app
from server.api.paths import PathTable
from server.config import Config
from server.observability.metrics import Metrics
from server.registry import ModelRegistry


@pytest.fixture(scope="module")
def table() -> PathTable:
    """The paths of the application."""
    app = create_app(Config(), ModelRegistry([]), object(), Metrics())  # type: ignore[arg-type]
    paths: PathTable = app.state.paths
    return paths


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("//v1/embeddings", "/v1/embeddings"),
        ("/v1//embeddings", "/v1/embeddings"),
        ("///v1///models///a/b", "/v1/models/a/b"),
        ("/v1/models//a//b", "/v1/models/a/b"),
        ("/v1//models/s3://bucket/name", "/v1/models/s3://bucket/name"),
        ("/openai//deployments//a//embeddings", "/openai/deployments/a/embeddings"),
        ("//health", "/health"),
        ("//inference//v1//rerank", "/inference/v1/rerank"),
        ("//", "/"),
    ],
)
def test_doubled_slashes_count_once(table: PathTable, path: str, meant: str) -> None:
    assert table.resolve(path) == meant


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/v1/embeddings", "/v1/embeddings"),
        ("/v1/v1/v1/embeddings", "/v1/embeddings"),
        ("/v1/v1/rerank", "/v1/rerank"),
        ("/v1/v2/rerank", "/v2/rerank"),
        ("/v1/v1/embed", "/v1/embed"),
        ("/v1/v2/embed", "/v2/embed"),
        ("/v1/v1/models", "/v1/models"),
        ("/v1/v1/models/org/name", "/v1/models/org/name"),
        ("/v1/v1/score", "/v1/score"),
        ("/v2/v1/embeddings", "/v1/embeddings"),
        ("/v1/embeddings/embeddings", "/embeddings"),
        ("/v1/embeddings/v1/embeddings", "/v1/embeddings"),
        ("/v1/embeddings/models", "/models"),
        ("/v1/rerank/rerank", "/rerank"),
        ("/v1/rerank/v1/rerank", "/v1/rerank"),
        ("/v2/rerank/v2/rerank", "/v2/rerank"),
        ("/rerank/rerank", "/rerank"),
        ("/embed/embed", "/embed"),
        ("/v1/tokenize", "/tokenize"),
        ("/openai/v1/embeddings", "/embeddings"),
        ("/openai/v1/v1/embeddings", "/v1/embeddings"),
        ("/openai/v1/models", "/models"),
        ("/openai/v1/rerank", "/rerank"),
        ("/openai/openai/deployments/a/b/embeddings", "/openai/deployments/a/b/embeddings"),
        ("/api/v1/embeddings", "/embeddings"),
    ],
)
def test_a_base_url_with_a_path_too_many_leads_to_the_route(table: PathTable, path: str, meant: str) -> None:
    assert table.resolve(path) == meant


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/inference/v1/v1/embeddings", "/inference/v1/embeddings"),
        ("/inference/v1/v2/rerank", "/inference/v1/rerank"),
        ("/inference/v1/inference/v1/embeddings", "/inference/v1/embeddings"),
        ("/inference/inference/v1/embeddings", "/inference/v1/embeddings"),
        ("/inference/v1/embeddings/embeddings", "/inference/v1/embeddings"),
        ("/inference/v1/rerank/v1/rerank", "/inference/v1/rerank"),
        ("/inference/v1/v1/models", "/inference/v1/models"),
        ("/inference/v1/v1/models/org/name", "/inference/v1/models/org/name"),
        ("/v1/inference/v1/embeddings", "/inference/v1/embeddings"),
    ],
)
def test_a_path_of_fireworks_stays_one_of_fireworks(table: PathTable, path: str, meant: str) -> None:
    assert table.resolve(path) == meant


@pytest.mark.parametrize(
    "path",
    [
        "/v1/embeddings",
        "/v1/models/v1/models",
        "/v1/models/s3://bucket/name",
        "/docs/assets/swagger-ui.css",
        "/v1",
        "/v1/foo",
        "/v1/v1",
        "/inference/v1/embed",
        "/inference/v2/embeddings",
        "/foo/v1/embeddings",
        "*",
        "/health/v1/foo",
    ],
)
def test_every_other_path_stays_as_it_is(table: PathTable, path: str) -> None:
    assert table.resolve(path) == path


@pytest.mark.parametrize("path", ["/v1" * 20_000, "/" * 60_000 + "v1", "/v1/embeddings" * 4000, "/a" * 30_000])
def test_a_long_path_takes_no_time(table: PathTable, path: str) -> None:
    started = perf_counter()

    assert table.resolve(path) == path
    table.nearest(path)

    assert perf_counter() - started < 0.1


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/v1/embedding", "/v1/embeddings"),
        ("/foo/bar/score", "/v1/score"),
        ("/V1/embeddings", "/v1/embeddings"),
        ("/compatible-mode/v1/embeddings", "/v1/embeddings"),
        ("/inference/v2/embeddings", "/inference/v1/embeddings"),
        ("/v1/chat/completions", None),
        ("/v1", None),
        ("*", None),
    ],
)
def test_a_near_path_is_named(table: PathTable, path: str, nearest: str | None) -> None:
    assert table.nearest(path) == nearest


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/embeddings", ["POST"]),
        ("//v1/v1/models", ["GET", "HEAD"]),
        ("/v1/models/a/b", ["GET", "HEAD"]),
        ("/docs", ["GET", "HEAD"]),
        ("/nope", []),
    ],
)
def test_the_methods_of_a_path(table: PathTable, path: str, methods: list[str]) -> None:
    assert table.allowed(path) == methods
