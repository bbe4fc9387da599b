"""Models for the server's tests; nothing here has weights."""

import os

import pytest

from models import Preprocessor
from server.registry import ServedModel
from tests.support.server.in_process import pair_model, served, text_model


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEARTH_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def embedder_text(tmp_path_factory: pytest.TempPathFactory) -> Preprocessor:
    """An embedder whose tokens are bytes."""
    return text_model(tmp_path_factory.mktemp("embedder"))


@pytest.fixture(scope="session")
def reranker_text(tmp_path_factory: pytest.TempPathFactory) -> Preprocessor:
    """A reranker whose tokens are bytes."""
    return text_model(tmp_path_factory.mktemp("reranker"), "reranker")


@pytest.fixture(scope="session")
def pair_text(tmp_path_factory: pytest.TempPathFactory) -> Preprocessor:
    """A classification reranker."""
    return pair_model(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def embedder(embedder_text: Preprocessor) -> ServedModel:
    """The model, served under a name."""
    return served(embedder_text, "embedder")


@pytest.fixture
def reranker(reranker_text: Preprocessor) -> ServedModel:
    """The model, served under a name."""
    return served(reranker_text, "reranker")
