"""Servers that the contract's tests share: each is started once, when the first test asks for it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from models import Preprocessor, demo_models, load_preprocessor
from tests.support.server.process import ServerProcess

# Not imported here: what is imported already cannot be rewritten.
pytest.register_assert_rewrite("tests.support.http.requests", "tests.support.http.reference")

EMBEDDER, RERANKER = demo_models()


def _fake(path: str, name: str, **options: Any) -> dict[str, Any]:
    return {"path": path, "id": name, "backend": "fake", **options}


# One model for each thing that a model can be told, all of them without weights.
ODD_MODELS = [
    _fake(EMBEDDER, "Qwen/Qwen3-Embedding-0.6B", aliases=["text-embedding-3-small"]),
    _fake(RERANKER, "Qwen/Qwen3-Reranker-8B"),
    _fake(EMBEDDER, "fixed", matryoshka=False),
    _fake(EMBEDDER, "sizes", matryoshka=[64, 128]),
    _fake(EMBEDDER, "textual", token_ids="reject"),
    _fake(EMBEDDER, "native", token_ids="native"),
    _fake(EMBEDDER, "short-embedder", max_tokens=12),
    _fake(RERANKER, "short-reranker", max_tokens=160),
    _fake(RERANKER, "unframed", frame_rerank_prompts=False),
    _fake(RERANKER, "language", kind="llm"),
    _fake(EMBEDDER, "one/twin"),
    _fake(EMBEDDER, "other/twin"),
]
SMALL_LIMITS = {
    "inputs": 16,
    "documents": 8,
    "request_tokens": 500,
    "rerank_tokens": 900,
    "response_floats": 20_000,
    "body_bytes": 100_000,
}


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The demo pair in float32, so that numbers are held to the tighter column of the tolerances everywhere."""
    models = [{"path": path, "dtype": "float32"} for path in demo_models()]
    with ServerProcess(tmp_path_factory.mktemp("demo"), {"models": models}) as hearth:
        yield hearth


@pytest.fixture(scope="session")
def odd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Many models, configured in every way, behind small limits."""
    config = {"models": ODD_MODELS, "limits": SMALL_LIMITS}
    with ServerProcess(tmp_path_factory.mktemp("odd"), config) as hearth:
        yield hearth


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The demo pair's names and tokens without its networks: equal ids give equal bits, and at once."""
    models = [{"path": path, "backend": "fake"} for path in demo_models()]
    with ServerProcess(tmp_path_factory.mktemp("plain"), {"models": models}) as hearth:
        yield hearth


@pytest.fixture
def plain(plain_server: ServerProcess) -> httpx.Client:
    """Asks the demo pair's stand-in."""
    return plain_server.client


# Tells, on standard error, of every import of a heavy library.
WATCH_IMPORTS = """
import sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "sentence_transformers"):
            # In one piece: the thread of the log writes to the same stream.
            sys.stderr.write(f"watched import: {name}\\n")
            sys.stderr.flush()

sys.meta_path.insert(0, Watch())
"""


@pytest.fixture(scope="session")
def newcomer_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with nothing configured, whose log names the heavy libraries that it imports."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "sitecustomize.py").write_text(WATCH_IMPORTS, "utf-8")
    search_path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    with ServerProcess(folder / "server", environment={"PYTHONPATH": search_path}) as hearth:
        yield hearth


@pytest.fixture
def demo(demo_server: ServerProcess) -> httpx.Client:
    """Asks the demo pair."""
    return demo_server.client


@pytest.fixture
def odd(odd_server: ServerProcess) -> httpx.Client:
    """Asks the models without weights."""
    return odd_server.client


@pytest.fixture(scope="session")
def embedder() -> Preprocessor:
    """The text side of the demo embedder: what a text costs, and how it is spelt in ids."""
    return load_preprocessor(Path(EMBEDDER))


@pytest.fixture(scope="session")
def reranker() -> Preprocessor:
    """The text side of the demo reranker."""
    return load_preprocessor(Path(RERANKER))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers that end with the test."""
    with ExitStack() as stack:
        yield lambda config=None, **options: stack.enter_context(ServerProcess(tmp_path / "server", config, **options))
