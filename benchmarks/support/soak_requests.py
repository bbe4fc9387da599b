"""What a soak sends: requests of every route and dialect, large, invalid and late ones, and when an answer is right.

An answer is right if it equals the reference, which the same server gave before the first fault. Numbers may differ as
far as the composition of a batch changes their last bits.
"""

import base64
import gzip
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from server.api.app import create_app
from server.api.route_table import Route
from server.config import Config
from server.observability.metrics import Metrics
from server.registry import ModelRegistry

# Two vectors of different texts of the demo embedder have 0.3 to 0.8.
MIN_COSINE = 0.999
# Scores and logits of one text alone and in a batch, in bfloat16.
TOLERANCE = 0.02
SHORTEST_VECTOR = 8
# They differ between two equal requests.
VOLATILE = {"id", "created", "request_id", "total_duration", "load_duration", "prompt_eval_duration"}
REQUEST_ID = re.compile(r"[0-9a-f]{32}|req[-_][\w-]+")
WORDS = ("the", "of", "search", "a", "model", "text", "query", "what", "how", "river", "light", "refund", "capital")
# The model of the demo pair that a body without `model` means, and the reranker.
EMBEDDER, RERANKER = "demo-embedding", "demo-reranker"

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request; `closes`: the server said that it closes the connection."""

    status: int
    is_json: bool
    closes: bool
    body: bytes


@dataclass(frozen=True)
class Call:
    """A request as it is sent, in `pieces` with a pause between them.

    kind: what the report calls it.
    refusals: statuses that are right besides that of the reference.
    has_fixed_body: whether the body of the answer equals that of the reference.
    """

    kind: str
    pieces: tuple[bytes, ...]
    refusals: frozenset[int] = frozenset({429, 503})
    has_fixed_body: bool = True

    def is_right(self, reply: Reply, reference: Reply) -> bool:
        """Whether a reply is the reference's answer, or a documented refusal."""
        if reply.status in self.refusals and reply.status != reference.status:
            return reply.is_json
        if reply.status != reference.status or reply.is_json != reference.is_json:
            return False
        if not self.has_fixed_body:
            return True
        if not reply.is_json:
            return reply.body == reference.body
        return same(json.loads(reply.body), json.loads(reference.body))


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values say the same."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(key in VOLATILE or same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and _same_list(a, b)
    if _is_number(a) and _is_number(b):
        return abs(a - b) <= TOLERANCE * max(1.0, abs(b))
    if isinstance(a, str) and isinstance(b, str):
        return a == b or REQUEST_ID.sub("", a) == REQUEST_ID.sub("", b) or _same_vectors(_decoded(a), _decoded(b))
    return bool(a == b)


def _same_list(a: list[Any], b: list[Any]) -> bool:
    if len(a) >= SHORTEST_VECTOR and all(map(_is_number, a)) and all(map(_is_number, b)):
        return _same_vectors(np.array(a), np.array(b))
    if all(isinstance(item, dict) and "index" in item for item in (*a, *b)):
        # Documents with almost equal scores may change places.
        a, b = (sorted(items, key=lambda item: item["index"]) for items in (a, b))
    return all(same(*pair) for pair in zip(a, b, strict=True))


def _same_vectors(a: Any, b: Any) -> bool:
    if a.shape != b.shape or not a.size:
        return False
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return math.isfinite(lengths) and float(a @ b) >= MIN_COSINE * lengths


def _decoded(text: str) -> Any:
    with suppress(ValueError):
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    return np.zeros(0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def every_call(key: str, seed: int = 0) -> list[Call]:
    """The requests that a soak chooses from; `key` is an API key of the server."""
    rng = random.Random(seed)
    return [*_documented(key), *_sized(key, rng), *_invalid(key), *_late(key, rng), *_in_pieces(key, rng)]


def wire(
    method: str,
    path: str,
    body: bytes | None,
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    chunked: bool = False,
) -> bytes:
    """A request as its bytes."""
    lines = {"host": "soak", "authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})}
    if chunked:
        lines["transfer-encoding"] = "chunked"
    elif body is not None:
        lines.setdefault("content-length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (b"" if body is None else body)


def post(path: str, fields: Any, key: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A POST request with a JSON body."""
    return wire("POST", path, json.dumps(fields).encode(), key, headers)


def text_of(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def _documented(key: str) -> Iterator[Call]:
    """Every path of every route, with each example of the OpenAPI document."""
    app = create_app(Config(), ModelRegistry([]), object(), Metrics())  # type: ignore[arg-type]
    routes: list[Route] = app.state.routes
    for route in routes:
        kind = f"{route.method} {route.paths[0]}"
        for path in route.paths:
            address = path.replace("{model:path}", EMBEDDER)
            if route.method == "GET":
                # These tell the state of the engines, which changes.
                is_fixed = not path.startswith(("/metrics", "/health", "/ready", "/info")) and "/models" not in path
                refusals = frozenset[int]() if path == "/live" else Call.refusals
                yield Call(kind, (wire("GET", address, None, key),), refusals, is_fixed)
            else:
                for example in _examples(route.document):
                    yield Call(kind, (post(address, example, key),))


def _examples(operation: JsonObject | None) -> list[JsonObject]:
    media = (operation or {}).get("requestBody", {}).get("content", {}).get("application/json", {})
    return [example["value"] for example in media.get("examples", {}).values()]


def _sized(key: str, rng: random.Random) -> Iterator[Call]:
    """Texts and documents of many lengths and numbers."""
    for count, words in ((1, 5), (1, 12), (1, 60), (3, 30), (16, 20), (64, 40), (256, 12), (700, 6), (4, 900)):
        for _ in range(6):
            texts = [text_of(rng, rng.randint(1, 2 * words)) for _ in range(count)]
            fields: JsonObject = {"input": texts, "model": EMBEDDER}
            yield Call(f"embeddings of {count}", (post("/v1/embeddings", fields, key),))
            fields["encoding_format"] = "base64"
            yield Call("embeddings in base64", (post("/v1/embeddings", fields, key),))
    for count in (2, 10, 40, 150):
        for _ in range(4):
            documents = [text_of(rng, rng.randint(3, 60)) for _ in range(count)]
            fields = {"query": text_of(rng, 8), "documents": documents, "model": RERANKER}
            yield Call(f"rerank of {count}", (post("/v1/rerank", fields, key),))
    for _ in range(6):
        template = "{% if text %}{{ text|upper }} " + text_of(rng, 3) + "{% endif %}"
        fields = {"input": [{"text": text_of(rng, 9)}], "prompt_template": template, "model": EMBEDDER}
        yield Call("prompt template", (post("/v1/embeddings", fields, key),))
        body = gzip.compress(json.dumps({"input": text_of(rng, 200), "model": EMBEDDER}).encode())
        yield Call("gzip", (wire("POST", "/v1/embeddings", body, key, {"content-encoding": "gzip"}),))


def _invalid(key: str) -> Iterator[Call]:
    """What is refused, cheaply or after some work."""
    bodies: Sequence[bytes] = (
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"input": []}',
        b'{"input": [1, "a"]}',
        b'{"input": NaN}',
        b'{"input": "a", "dimensions": 0}',
        b'{"input": "a", "model": "nobody"}',
        b'{"input": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        json.dumps({"input": "word " * 200_000}).encode(),
        json.dumps({"input": ["a"] * 5000}).encode(),
        json.dumps({"input": "a", "x": [[]] * 200_000}).encode(),
    )
    for body in bodies:
        yield Call("invalid body", (wire("POST", "/v1/embeddings", body, key),))
    large = {"content-length": str(10**12)}
    yield Call("body of a terabyte", (wire("POST", "/v1/embeddings", b"", key, large),))
    yield Call("wrong media type", (wire("POST", "/v1/embeddings", b"a", key, {"content-type": "text/html"}),))
    yield Call("wrong method", (wire("DELETE", "/v1/embeddings", None, key),))
    yield Call("unknown path", (wire("GET", "/v1/nothing", None, key),))
    yield Call("wrong key", (wire("GET", "/v1/models", None, "wrong"),))
    yield Call("no HTTP", (b"\x16\x03\x01 hello\r\n\r\n",))
    yield Call("head without end", (b"GET /live HTTP/1.1\r\nhost: soak\r\nx: " + b"y" * 100_000,))


def _late(key: str, rng: random.Random) -> Iterator[Call]:
    """Requests with less time than they need."""
    refusals = frozenset({429, 503, 504})
    for _ in range(4):
        fields = {"input": [text_of(rng, 30) for _ in range(300)], "model": EMBEDDER}
        request = post("/v1/embeddings", fields, key, {"x-request-timeout": "0.05"})
        # The reference may be either: a machine may be fast enough.
        yield Call("deadline of 50 ms", (request,), refusals | {200}, has_fixed_body=False)


def _in_pieces(key: str, rng: random.Random) -> Iterator[Call]:
    """Bodies that arrive slowly, and in chunks."""
    for _ in range(4):
        request = post("/v1/embeddings", {"input": text_of(rng, 60), "model": EMBEDDER}, key)
        yield Call("slow body", (request[:40], request[40:250], request[250:]))
        body = json.dumps({"input": text_of(rng, 60), "model": EMBEDDER}).encode()
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:30], body[30:])) + b"0\r\n\r\n"
        yield Call("chunked body", (wire("POST", "/v1/embeddings", chunks, key, {"transfer-encoding": "chunked"}),))
