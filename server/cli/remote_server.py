"""Another server, asked in whichever dialect it understands: OpenAI's, Fireworks', Cohere's, Jina's or TEI's."""

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
# Full, starting, or in between: worth asking again.
BUSY = (429, 502, 503, 504)
# Eight vectors of 8,192 numbers are 1.5 MB.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
MAX_SAID = 200


class RemoteServerError(Exception):
    """The other server gave no answer that can be compared; the message is one sentence."""


class RequestRejected(Exception):
    """It does not take this request; another dialect, or a shorter batch, may do."""


def post(address: str, body: Any, key: str | None) -> Any:
    """The JSON that a server answers.

    Raises: RemoteServerError, Refused.
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
            raise RemoteServerError(f"{address} cannot be asked: {said}") from error
    raise RemoteServerError(f"{address} was too busy, {TRIES} times in a row")


def printable(text: str) -> str:
    """The beginning of a line that another wrote, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_SAID])


class _Stay(urllib.request.HTTPRedirectHandler):
    # urllib would send the key along, to whichever host it is told.
    def redirect_request(self, *_: object) -> None:
        """Never anywhere else."""


_OPENER = urllib.request.build_opener(_Stay)


def _read(address: str, answer: http.client.HTTPResponse) -> bytes:
    content = answer.read(MAX_RESPONSE_BYTES + 1)
    if len(content) > MAX_RESPONSE_BYTES:
        raise RemoteServerError(f"{address} gave an answer of more bytes than: {MAX_RESPONSE_BYTES}")
    return content


def _busy_s(address: str, error: urllib.error.HTTPError, attempt: int) -> float:
    """How long to wait before it is asked again.

    Raises: RemoteServerError, Refused: asking again is of no use.
    """
    if error.code in (401, 403):
        raise RemoteServerError(f"{address} does not let us in, give it a key by --key: {error.code}") from error
    if 300 <= error.code < 400:
        where = printable(error.headers.get("Location", "nowhere"))
        raise RemoteServerError(f"{address} sends us elsewhere, where no key is taken unasked; give the URL: {where}")
    if error.code not in BUSY:
        _refuse(error)
    asked = error.headers.get("Retry-After", "")
    return min(float(asked), 60.0) if asked.isascii() and asked.isdigit() else 2.0**attempt


def _refuse(error: urllib.error.HTTPError) -> NoReturn:
    try:
        said = error.read(300).decode("utf-8", "replace").split("\n", 1)[0]
    except (OSError, http.client.HTTPException):
        said = ""
    raise RequestRejected(f"{error.code} {printable(said)}") from error


PROBE = "Hello world"
REQUEST_INPUTS = 8

Json = Any


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to ask: where below the base, how to write the question, how to read the answer."""

    name: str
    path: str
    write: Callable[..., Json]
    read: Callable[[Json], list[Any]]


EMBED = (
    Dialect(
        "OpenAI",
        "/embeddings",
        # Floats are what all give unasked, and some know no field for it, or another.
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
    """One server at a base URL, such as https://host/v1, or with a whole route in place of one."""

    url: str
    model: str
    key: str | None = None
    refused: list[str] = field(default_factory=list)
    """Texts that it would not take."""
    _chosen: tuple[str, Dialect] | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise RemoteServerError(f"a server's URL begins with http:// or https://, and this is: {self.url}")
        self.key = (self.key or "").strip() or None
        if self.key and not (self.key.isascii() and self.key.isprintable()):
            raise RemoteServerError("the key of the other server holds a character that no header can carry")

    @property
    def dialect(self) -> str:
        """How it was asked."""
        return self._chosen[1].name if self._chosen else "none"

    def vectors(self, texts: Sequence[str]) -> list[Row | None]:
        """A vector for each text, None for one that it refuses."""
        if self._chosen is None:
            self._ask(EMBED, [PROBE])  # which any model takes
        rows: list[Row | None] = []
        for start in range(0, len(texts), REQUEST_INPUTS):
            batch = list(texts[start : start + REQUEST_INPUTS])
            try:
                rows.extend(self._ask(EMBED, batch))
            except RequestRejected:
                rows.extend(self._vector(text) for text in batch)
        if len(widths := {len(row) for row in rows if row is not None}) > 1:
            raise RemoteServerError(f"{self.url} gave vectors of several lengths: {sorted(widths)}")
        return rows

    def scores(self, query: str, documents: Sequence[str]) -> Row:
        """A score for each document, in the order of the documents."""
        try:
            return self._ask(RERANK, query, list(documents))
        except RequestRejected as error:
            raise RemoteServerError(f"{self.url} refused to rerank: {error}") from error

    def _vector(self, text: str) -> Row | None:
        try:
            return np.asarray(self._ask(EMBED, [text])[0])
        except RequestRejected:
            self.refused.append(text)
            return None

    def _ask(self, dialects: Sequence[Dialect], *question: Any) -> Matrix:
        if self._chosen is not None:
            return self._read(*self._chosen, question)
        tried = []
        for address, dialect in self._ways(dialects):
            try:
                answer = self._read(address, dialect, question)
            except RequestRejected as error:
                tried.append(f"{address} says {error}")
                continue
            self._chosen = (address, dialect)
            return answer
        raise RemoteServerError(f"no way to ask this server was answered: {'; '.join(tried)}")

    def _ways(self, dialects: Sequence[Dialect]) -> list[tuple[str, Dialect]]:
        base = self.url.rstrip("/")
        whole = [(base, dialect) for dialect in dialects if base.endswith(dialect.path)]
        if whole:
            return whole
        root = base.removesuffix("/v1").removesuffix("/v2")
        starts = [base] if root != base else [f"{base}/v1", base]
        return [
            (f"{start}{dialect.path}", dialect)
            for dialect in dialects
            for start in ([root] if dialect.path.startswith("/v2") else starts)
        ]

    def _read(self, address: str, dialect: Dialect, question: Sequence[Any]) -> Matrix:
        body = post(address, dialect.write(self.model, *question), self.key)
        try:
            answer = dialect.read(body)
            with np.errstate(over="ignore"):  # Inf is refused below
                numbers = np.array(answer, dtype=np.float32)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            raise RequestRejected(f"something that is no answer of {dialect.name}'s form") from error
        if len(answer) != len(question[-1]):
            raise RemoteServerError(f"{address} gave {len(answer)} answers to a request of: {len(question[-1])}")
        if numbers.ndim != (2 if dialect in EMBED else 1) or not numbers.size:
            raise RequestRejected(f"something that is no answer of {dialect.name}'s form")
        if not np.isfinite(numbers).all():
            raise RemoteServerError(f"{address} gave NaN or Inf, or a number too large for float32")
        return numbers


def _by_index(items: list[Json], key: str) -> list[Json]:
    found = {item["index"]: item[key] for item in items}
    if len(found) != len(items):
        raise ValueError("two answers of one index")
    return [found[index] for index in sorted(found)]
