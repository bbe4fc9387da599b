"""A client of another embeddings or rerank server, which speaks whichever API format that server understands.

OpenAI's, Fireworks', Cohere's, Jina's and TEI's formats are tried in turn.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from models import Matrix, Row
from server import VERSION

TIMEOUT_S = 120
TRIES = 4
# Rate limited, starting or restarting: worth another try.
RETRY_STATUSES = (429, 502, 503, 504)
MAX_RETRY_AFTER_S = 60.0
# Eight vectors of 8,192 numbers are 1.5 MB.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
MAX_QUOTED_CHARACTERS = 200
# Any model accepts it.
PROBE_TEXT = "Hello world"
REQUEST_INPUTS = 8

Json = Any


class RemoteServerError(Exception):
    """The other server gave no result that can be compared; the message is one sentence."""


class RequestRejected(Exception):
    """The server does not accept this request; it may accept another format, or fewer texts."""


def post(url: str, body: Json, key: str | None) -> Json:
    """The JSON of a server's response. Busy servers are asked again.

    Raises: RemoteServerError, RequestRejected.
    """
    headers = {"Content-Type": "application/json", "User-Agent": f"hearth/{VERSION}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    for attempt in range(TRIES):
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 (http alone)
            with _OPENER.open(request, timeout=TIMEOUT_S) as response:
                return json.loads(_read(url, response))
        except urllib.error.HTTPError as error:
            with error:
                time.sleep(_retry_after_s(url, error, attempt))
        except (OSError, ValueError, http.client.HTTPException, RecursionError) as error:
            reason = printable(str(getattr(error, "reason", error)) or type(error).__name__)
            raise RemoteServerError(f"the request to {url} failed: {reason}") from error
    raise RemoteServerError(f"{url} was busy {TRIES} times in a row; try again later")


def printable(text: str) -> str:
    """The beginning of a text from outside, without control characters that a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_QUOTED_CHARACTERS])


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    # urllib would send the API key along, to any host that the server names.
    def redirect_request(self, *_: object) -> None:
        pass


_OPENER = urllib.request.build_opener(_NoRedirects)


def _read(url: str, response: http.client.HTTPResponse) -> bytes:
    content = response.read(MAX_RESPONSE_BYTES + 1)
    if len(content) > MAX_RESPONSE_BYTES:
        raise RemoteServerError(f"{url} responded with more than {MAX_RESPONSE_BYTES} bytes")
    return content


def _retry_after_s(url: str, error: urllib.error.HTTPError, attempt: int) -> float:
    """Raises: RemoteServerError, RequestRejected: a retry is of no use."""
    if error.code in (401, 403):
        raise RemoteServerError(f"{url} denied access with status {error.code}; give its API key with --key") from error
    if 300 <= error.code < 400:
        location = printable(error.headers.get("Location", "nowhere"))
        raise RemoteServerError(
            f"{url} redirects to {location}. Redirects are not followed, because they could leak the API key; "
            "pass that URL instead."
        )
    if error.code not in RETRY_STATUSES:
        _reject(error)
    header = error.headers.get("Retry-After", "")
    return min(float(header), MAX_RETRY_AFTER_S) if header.isascii() and header.isdigit() else 2.0**attempt


def _reject(error: urllib.error.HTTPError) -> NoReturn:
    try:
        line = error.read(300).decode("utf-8", "replace").split("\n", 1)[0]
    except (OSError, http.client.HTTPException):
        line = ""
    raise RequestRejected(f"status {error.code} {printable(line)}") from error


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API format: its path below the base URL, how a request is written and a response read."""

    name: str
    path: str
    write: Callable[..., Json]
    read: Callable[[Json], list[Any]]


EMBED = (
    Dialect(
        "OpenAI",
        "/embeddings",
        # Floats are every server's default, and some reject `encoding_format` or know another name for it.
        lambda model, texts: {"model": model, "input": texts},
        lambda body: _by_index(body["data"], "embedding"),
    ),
    Dialect(
        "Cohere",
        "/v2/embed",
        lambda model, texts: {
            "model": model,
            "texts": texts,
            "input_type": "search_document",
            "embedding_types": ["float"],
        },
        lambda body: list(body["embeddings"]["float"]),
    ),
    Dialect("TEI", "/embed", lambda model, texts: {"inputs": texts}, list),
)
RERANK = (
    Dialect(
        "Cohere, Jina or Fireworks",
        "/rerank",
        lambda model, query, documents: {"model": model, "query": query, "documents": documents},
        lambda body: _by_index(body.get("results") or body["data"], "relevance_score"),
    ),
    Dialect(
        "TEI",
        "/rerank",
        lambda model, query, texts: {"query": query, "texts": texts},
        lambda body: _by_index(body, "score"),
    ),
)


@dataclass(slots=True)
class RemoteServer:
    """A server at a base URL such as https://host/v1, or at the full URL of one route."""

    url: str
    model: str
    key: str | None = None
    rejected: list[str] = field(default_factory=list)
    """Texts that the server did not accept."""
    _chosen: tuple[str, Dialect] | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise RemoteServerError(f"the URL of a server must begin with http:// or https://; got {self.url}")
        self.key = (self.key or "").strip() or None
        if self.key and not (self.key.isascii() and self.key.isprintable()):
            raise RemoteServerError("the API key for the other server has a character that no HTTP header can hold")

    @property
    def dialect(self) -> str:
        """The name of the API format that the server understands."""
        return self._chosen[1].name if self._chosen else "none"

    def vectors(self, texts: Sequence[str]) -> list[Row | None]:
        """A vector for each text, None for a text that the server rejects.

        Raises: RemoteServerError.
        """
        if self._chosen is None:
            self._request(EMBED, [PROBE_TEXT])
        rows: list[Row | None] = []
        for start in range(0, len(texts), REQUEST_INPUTS):
            batch = list(texts[start : start + REQUEST_INPUTS])
            try:
                rows.extend(self._request(EMBED, batch))
            except RequestRejected:
                rows.extend(self._vector(text) for text in batch)
        if len(widths := {len(row) for row in rows if row is not None}) > 1:
            raise RemoteServerError(f"{self.url} returned vectors of different lengths: {sorted(widths)}")
        return rows

    def scores(self, query: str, documents: Sequence[str]) -> Row:
        """A score for each document, in the order of the documents.

        Raises: RemoteServerError.
        """
        try:
            return self._request(RERANK, query, list(documents))
        except RequestRejected as error:
            raise RemoteServerError(f"{self.url} rejected a rerank request: {error}") from error

    def _vector(self, text: str) -> Row | None:
        try:
            return np.asarray(self._request(EMBED, [text])[0])
        except RequestRejected:
            self.rejected.append(text)
            return None

    def _request(self, dialects: Sequence[Dialect], *question: Any) -> Matrix:
        if self._chosen is not None:
            return self._post(*self._chosen, question)
        rejections = []
        for url, dialect in self._candidates(dialects):
            try:
                numbers = self._post(url, dialect, question)
            except RequestRejected as error:
                rejections.append(f"{url}: {error}")
                continue
            self._chosen = (url, dialect)
            return numbers
        raise RemoteServerError(f"the server accepted no known request format; {'; '.join(rejections)}")

    def _candidates(self, dialects: Sequence[Dialect]) -> list[tuple[str, Dialect]]:
        base = self.url.rstrip("/")
        full = [(base, dialect) for dialect in dialects if base.endswith(dialect.path)]
        if full:
            return full
        root = base.removesuffix("/v1").removesuffix("/v2")
        starts = [base] if root != base else [f"{base}/v1", base]
        return [
            (f"{start}{dialect.path}", dialect)
            for dialect in dialects
            for start in ([root] if dialect.path.startswith("/v2") else starts)
        ]

    def _post(self, url: str, dialect: Dialect, question: Sequence[Any]) -> Matrix:
        body = post(url, dialect.write(self.model, *question), self.key)
        try:
            results = dialect.read(body)
            with np.errstate(over="ignore"):  # Inf is refused below
                numbers = np.array(results, dtype=np.float32)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            raise RequestRejected(f"the response is not in {dialect.name}'s format") from error
        if len(results) != len(question[-1]):
            raise RemoteServerError(f"{url} returned {len(results)} results for {len(question[-1])} inputs")
        if numbers.ndim != (2 if dialect in EMBED else 1) or not numbers.size:
            raise RequestRejected(f"the response is not in {dialect.name}'s format")
        if not np.isfinite(numbers).all():
            raise RemoteServerError(f"{url} returned NaN, Inf or a number too large for float32")
        return numbers


def _by_index(items: list[Json], key: str) -> list[Json]:
    values = {item["index"]: item[key] for item in items}
    if len(values) != len(items):
        raise ValueError("two results have the same index")
    return [values[index] for index in sorted(values)]
