"""Another server, asked in whichever dialect it understands: OpenAI's, Fireworks', Cohere's, Jina's or TEI's."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from models import Row
from server.version import VERSION

PROBE = "Hello world"
BATCH = 8
TIMEOUT_S = 120
TRIES = 4
# Full, starting, or in between: worth asking again.
BUSY = (429, 502, 503, 504)

Json = Any


class NeighbourError(Exception):
    """The other server gave no answer that can be compared; the message is one sentence."""


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
        lambda body: [item["embedding"] for item in sorted(body["data"], key=lambda item: item["index"])],
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
        lambda body: _in_order(body.get("results") or body["data"], "relevance_score"),
    ),
    Dialect(
        "TEI",
        "/rerank",
        lambda model, query, texts: {"query": query, "texts": texts},
        lambda body: _in_order(body, "score"),
    ),
)


@dataclass(slots=True)
class Neighbour:
    """One server at a base URL, such as https://host/v1, or with a whole route in place of one."""

    url: str
    model: str
    key: str | None = None
    refused: list[str] = field(default_factory=list)
    """Texts that it would not take."""
    _chosen: tuple[str, Dialect] | None = None

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise NeighbourError(f"a server's URL begins with http:// or https://, and this is: {self.url}")

    @property
    def dialect(self) -> str:
        """How it was asked."""
        return self._chosen[1].name if self._chosen else "none"

    def vectors(self, texts: Sequence[str]) -> list[Row | None]:
        """A vector for each text, None for one that it refuses."""
        if self._chosen is None:
            self._ask(EMBED, [PROBE])  # which any model takes
        rows: list[Row | None] = []
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            try:
                rows += self._ask(EMBED, batch)
            except _Refused:
                rows += [self._vector(text) for text in batch]
        return rows

    def scores(self, query: str, documents: Sequence[str]) -> Row:
        """A score for each document, in the order of the documents."""
        try:
            return np.array(self._ask(RERANK, query, list(documents)), dtype=np.float32)
        except _Refused as error:
            raise NeighbourError(f"{self.url} refused to rerank: {error}") from error

    def _vector(self, text: str) -> Row | None:
        try:
            return np.array(self._ask(EMBED, [text])[0], dtype=np.float32)
        except _Refused:
            self.refused.append(text)
            return None

    def _ask(self, dialects: Sequence[Dialect], *question: Any) -> list[Any]:
        if self._chosen is not None:
            return self._read(*self._chosen, question)
        tried = []
        for address, dialect in self._ways(dialects):
            try:
                answer = self._read(address, dialect, question)
            except _Refused as error:
                tried.append(f"{address} says {error}")
                continue
            self._chosen = (address, dialect)
            return answer
        raise NeighbourError(f"no way to ask this server was answered: {'; '.join(tried)}")

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

    def _read(self, address: str, dialect: Dialect, question: Sequence[Any]) -> list[Any]:
        body = self._post(address, dialect.write(self.model, *question))
        try:
            answer = dialect.read(body)
        except (KeyError, TypeError, AttributeError) as error:
            raise _Refused(f"something that is no answer of {dialect.name}'s form") from error
        if len(answer) != len(question[-1]):
            raise NeighbourError(f"{address} gave {len(answer)} answers to a request of: {len(question[-1])}")
        return answer

    def _post(self, address: str, body: Json) -> Json:
        headers = {"Content-Type": "application/json", "User-Agent": f"hearth/{VERSION}"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)  # noqa: S310 (checked above)
        for attempt in range(TRIES):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    time.sleep(_busy_s(address, error, attempt))
            except (OSError, ValueError) as error:
                raise NeighbourError(f"{address} cannot be asked: {getattr(error, 'reason', error)}") from error
        raise NeighbourError(f"{address} was too busy, {TRIES} times in a row")


class _Refused(Exception):
    """It does not take this request; another dialect, or a shorter batch, may do."""


def _in_order(results: list[Json], score: str) -> list[float]:
    return [float(item[score]) for item in sorted(results, key=lambda item: item["index"])]


def _busy_s(address: str, error: urllib.error.HTTPError, attempt: int) -> float:
    """How long to wait before it is asked again.

    Raises: NeighbourError, _Refused: asking again is of no use.
    """
    if error.code in (401, 403):
        raise NeighbourError(f"{address} does not let us in, give it a key by --key: {error.code}") from error
    if error.code not in BUSY:
        said = error.read(300).decode("utf-8", "replace").split("\n", 1)[0]
        raise _Refused(f"{error.code} {said[:200]}") from error
    asked = error.headers.get("Retry-After", "")
    return min(float(asked), 60.0) if asked.isdigit() else 2.0**attempt
