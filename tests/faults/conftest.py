"""A fake model, and servers that each test starts for itself."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.server.fake_models import FakeModel, engines_of, wait_for_workers
from tests.support.server.process import ServerProcess


@pytest.fixture
def model(tmp_path: Path) -> Iterator[FakeModel]:
    """A model whose batches the test can hold; they are released when it ends."""
    model = FakeModel(tmp_path / "model")
    yield model
    model.release()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers that end with the test; each keeps its temporary files in tmp_path / "temporary"."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    with ExitStack() as stack:

        def started(*models: FakeModel, **config: Any) -> ServerProcess:
            settings = {"models": [model.config for model in models], **config}
            environment = {"TMPDIR": str(temporary)}
            hearth = stack.enter_context(ServerProcess(tmp_path / "server", settings, environment=environment))
            wait_for_workers(hearth, engines=engines_of(models))
            return hearth

        yield started
