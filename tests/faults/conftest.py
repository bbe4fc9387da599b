"""A fake model, and servers that each test starts for itself."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
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
def temporary() -> Iterator[Path]:
    """The folder for the temporary files of servers. The path of a socket in tmp_path could be too long."""
    with TemporaryDirectory(prefix="hearth-test-") as folder:
        yield Path(folder)


@pytest.fixture
def start(tmp_path: Path, temporary: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers that end with the test."""
    with ExitStack() as stack:

        def started(*models: FakeModel, **config: Any) -> ServerProcess:
            settings = {"models": [model.config for model in models], **config}
            environment = {"TMPDIR": str(temporary)}
            hearth = stack.enter_context(ServerProcess(tmp_path / "server", settings, environment=environment))
            wait_for_workers(hearth, engines=engines_of(models))
            return hearth

        yield started
