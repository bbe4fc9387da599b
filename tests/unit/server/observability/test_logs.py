"""How log lines look."""

import json
import logging

from server.observability.logs import JsonFormatter, TextFormatter


def _record(message: str = "hello %s", **extra: object) -> logging.LogRecord:
    return logging.getLogger("t").makeRecord("hearth.x", logging.INFO, "f", 1, message, ("you",), None, extra=extra)


def test_a_line_for_machines_is_one_object_with_everything_it_was_given() -> None:
    line = JsonFormatter().format(_record(request_id="r", tokens=3))

    fields = json.loads(line)
    assert (fields["message"], fields["level"], fields["logger"]) == ("hello you", "info", "hearth.x")
    assert (fields["request_id"], fields["tokens"]) == ("r", 3)
    assert "\n" not in line


def test_a_line_for_people_has_the_extras_behind_it() -> None:
    assert TextFormatter("%(message)s").format(_record(request_id="r")) == "hello you  request_id=r"


def test_an_exception_is_in_the_line() -> None:
    record = _record()
    record.exc_info = (KeyError, KeyError("gone"), None)

    assert "KeyError: 'gone'" in json.loads(JsonFormatter().format(record))["exception"]
