"""One JSON question to another server: asked again while it is busy, and trusted in nothing that it sends back."""

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any, NoReturn

from server.version import VERSION

TIMEOUT_S = 120
TRIES = 4
# Full, starting, or in between: worth asking again.
BUSY = (429, 502, 503, 504)
# Eight vectors of 8,192 numbers are 1.5 MB.
MAX_BYTES = 64 * 1024 * 1024
MAX_SAID = 200


class NeighbourError(Exception):
    """The other server gave no answer that can be compared; the message is one sentence."""


class Refused(Exception):
    """It does not take this request; another dialect, or a shorter batch, may do."""


def post(address: str, body: Any, key: str | None) -> Any:
    """The JSON that a server answers.

    Raises: NeighbourError, Refused.
    """
    headers = {"Content-Type": "application/json", "User-Agent": f"hearth/{VERSION}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    for attempt in range(TRIES):
        try:
            request = urllib.request.Request(address, json.dumps(body).encode(), headers)  # noqa: S310 (http alone)
            with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
                return json.loads(_read(address, answer))
        except urllib.error.HTTPError as error:
            with error:
                time.sleep(_busy_s(address, error, attempt))
        except (OSError, ValueError, http.client.HTTPException, RecursionError) as error:
            said = printable(str(getattr(error, "reason", error)) or type(error).__name__)
            raise NeighbourError(f"{address} cannot be asked: {said}") from error
    raise NeighbourError(f"{address} was too busy, {TRIES} times in a row")


def printable(text: str) -> str:
    """The beginning of a line that another wrote, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_SAID])


class _Stay(urllib.request.HTTPRedirectHandler):
    # urllib would send the key along, to whichever host it is told.
    def redirect_request(self, *_: object) -> None:
        """Never anywhere else."""


_OPENER = urllib.request.build_opener(_Stay)


def _read(address: str, answer: http.client.HTTPResponse) -> bytes:
    content = answer.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise NeighbourError(f"{address} gave an answer of more bytes than: {MAX_BYTES}")
    return content


def _busy_s(address: str, error: urllib.error.HTTPError, attempt: int) -> float:
    """How long to wait before it is asked again.

    Raises: NeighbourError, Refused: asking again is of no use.
    """
    if error.code in (401, 403):
        raise NeighbourError(f"{address} does not let us in, give it a key by --key: {error.code}") from error
    if 300 <= error.code < 400:
        where = printable(error.headers.get("Location", "nowhere"))
        raise NeighbourError(f"{address} sends us elsewhere, where no key is taken unasked; give the URL: {where}")
    if error.code not in BUSY:
        _refuse(error)
    asked = error.headers.get("Retry-After", "")
    return min(float(asked), 60.0) if asked.isascii() and asked.isdigit() else 2.0**attempt


def _refuse(error: urllib.error.HTTPError) -> NoReturn:
    try:
        said = error.read(300).decode("utf-8", "replace").split("\n", 1)[0]
    except (OSError, http.client.HTTPException):
        said = ""
    raise Refused(f"{error.code} {printable(said)}") from error
