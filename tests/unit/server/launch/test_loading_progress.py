"""A load that takes long says so."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import demo_models
from server.launch.loading_progress import loading_progress

FOLDER = Path(demo_models()[0])


class _Lines(logging.Handler):
    """Keeps the messages, and sets an event at the second one."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.second = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        if len(self.messages) == 2:
            self.second.set()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[_Lines]:
    caplog.set_level(logging.INFO, "hearth")
    handler = _Lines()
    logging.getLogger("hearth.engine").addHandler(handler)
    yield handler
    logging.getLogger("hearth.engine").removeHandler(handler)


def test_a_load_names_its_size_then_its_step_and_time(lines: _Lines) -> None:
    with loading_progress("m", FOLDER, interval_s=0.05) as progress:
        progress("loading the weights into packed")
        assert lines.second.wait(30)

    assert lines.messages[0].startswith("m: loading ")
    assert lines.messages[0].endswith(" MB of weights")
    assert lines.messages[1] == "m: still loading the weights into packed, after 0 s"


def test_the_thread_ends_with_the_load() -> None:
    with loading_progress("m", FOLDER):
        names = [thread.name for thread in threading.enumerate()]

    assert "hearth-loading" in names
    assert "hearth-loading" not in [thread.name for thread in threading.enumerate()]
