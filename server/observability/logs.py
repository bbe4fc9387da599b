"""How log lines look: text for people, JSON for machines; both carry the request id."""

import logging

from server.config import LogFormat
from server.serialization import dump

_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with everything it was given."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return dump(line).decode()


class TextFormatter(logging.Formatter):
    """A line with the extras behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, extras as name=value."""
        extras = " ".join(f"{name}={value}" for name, value in _extra(record).items() if value != "")
        return super().format(record) + (f"  {extras}" if extras else "")


def set_up_logging(how: LogFormat) -> None:
    """Send everything to standard error, in one format, uvicorn's lines included."""
    handler = logging.StreamHandler()
    text = TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonFormatter() if how == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Its own lines repeat ours.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _OWN}
