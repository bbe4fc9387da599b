"""The format of log lines: text for people, JSON for machines, both with the extra fields such as the request id."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from server.config import LogFormat, LogLevel
from server.observability.log_queue import QueuedLog
from server.serialization import dump

_STANDARD_FIELDS = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}
# Fields of the access log that are in its message.
IN_THE_TEXT = {"method", "path", "status"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            # RFC 3339, section 5.6.
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return dump(line).decode()


class TextFormatter(logging.Formatter):
    """A line of text, then those extra fields as name=value that the text does not hold already."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in _extra(record).items() if name not in IN_THE_TEXT and value != ""}
        extras = " ".join(f"{name}={value}" for name, value in fields.items())
        return super().format(record) + (f"  {extras}" if extras else "")


def set_up_logging(log_format: LogFormat, log_level: LogLevel) -> QueuedLog:
    """Send all log lines of this process to standard error in one format: ours, and the warnings of libraries."""
    # A process without standard error has None here, and number 2 may be another file of it by now.
    handler = QueuedLog(sys.stderr.fileno(), sys.stderr.encoding) if sys.stderr else QueuedLog(None)
    text = TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("hearth").setLevel(log_level.upper())
    logging.captureWarnings(capture=True)
    return handler


@contextmanager
def failures_logged(
    process: str, *expected: type[Exception], tell: Callable[[str], object] = lambda sentence: None
) -> Iterator[None]:
    """Log an exception that ends the process, unless it is `expected`; `tell` of it, and exit with status 1.

    The interpreter would write it to standard error itself, and wait for whoever reads that.
    """
    try:
        yield
    except expected:
        raise
    except Exception as error:
        logging.getLogger("hearth").exception("the %s process failed", process)
        tell(f"{type(error).__name__}: {error}")
        sys.exit(1)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD_FIELDS}
