"""How log lines look."""

import json
import logging

import pytest

from server.config import LogLevel
from server.observability.logs import JsonFormatter, TextFormatter, set_up_logging


def _record(message: str = "hello %s", **extra: object) -> logging.LogRecord:
    return logging.getLogger("t").makeRecord("hearth.x", logging.INFO, "f", 1, message, ("you",), None, extra=extra)


def test_a_line_for_machines_is_one_object_with_everything_it_was_given() -> None:
    line = JsonFormatter().format(_record(request_id="r", tokens=3))

    fields = json.loads(line)
    assert (fields["message"], fields["level"], fields["logger"]) == ("hello you", "info", "hearth.x")
    assert (fields["request_id"], fields["tokens"]) == ("r", 3)
    assert "\n" not in line


def test_the_time_for_machines_is_that_of_rfc_3339() -> None:
    record = _record()
    record.created = 1796021324.5

    assert json.loads(JsonFormatter().format(record))["time"] == "2026-11-30T06:48:44.500+00:00"


def test_a_line_for_people_does_not_repeat_what_it_says() -> None:
    record = _record("POST /x 400 %s", method="POST", path="/x", status=400, client="10.0.0.1")

    assert TextFormatter("%(message)s").format(record) == "POST /x 400 you  client=10.0.0.1"


@pytest.mark.parametrize("level", ["info", "debug"])
def test_libraries_are_heard_from_warnings_on_and_we_from_the_level_that_is_set(
    capfd: pytest.CaptureFixture[str], level: LogLevel
) -> None:
    root = logging.getLogger()
    handlers, root_level = root.handlers[:], root.level
    # basicConfig(force=True) closes the handlers that it replaces.
    root.handlers.clear()
    try:
        log = set_up_logging("text", level)
        for logger in ("httpx2", "huggingface_hub", "hearth.engine"):
            logging.getLogger(logger).info("%s speaks", logger)
            logging.getLogger(logger).debug("%s whispers", logger)
        log.flush()
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(root_level)
        logging.getLogger("hearth").setLevel(logging.NOTSET)

    lines = capfd.readouterr().err
    assert "hearth.engine speaks" in lines
    assert ("hearth.engine whispers" in lines) is (level == "debug")
    assert "httpx2" not in lines
    assert "huggingface_hub" not in lines


def test_a_line_for_people_has_the_extras_behind_it() -> None:
    assert TextFormatter("%(message)s").format(_record(request_id="r")) == "hello you  request_id=r"


def test_an_exception_is_in_the_line() -> None:
    record = _record()
    record.exc_info = (KeyError, KeyError("gone"), None)

    assert "KeyError: 'gone'" in json.loads(JsonFormatter().format(record))["exception"]
