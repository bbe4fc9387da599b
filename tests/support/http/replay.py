"""What applications send, and what they then read in the response: the files in recorded/.

`request` is sent as it is, headers included. `reads` maps JSON pointers of the response to the expectation there:

    {"type": "integer"}, {"value": 1}, {"holds": "part of a text"}, {"keys": ["embedding"]}
    {"vectors": "embedding", "as": "base64"}   a list with the vector of each input under that key; "" is the item
    {"scores": ["index", "relevance_score"]}   a list, best first, with the score of each document under those keys
    {"documents": "document/text"}             the same list: each document's text, found by its index

Vectors and scores are compared with those that the server gives for one text, or pair, at a time on another route.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.support.http.requests import Matrix, vector

FOLDER = Path(__file__).parents[2] / "contract" / "applications" / "recorded"
TYPES = {"integer": int, "string": str, "number": float, "array": list, "object": dict}
# Cohere's `input_type` as the named prompt that it stands for.
PROMPTS = {"search_document": "document", "passage": "document"}
PROMPTS |= dict.fromkeys(("search_query", "retrieval.query", "query"), "query")


@dataclass(frozen=True)
class Recording:
    """One call of one application."""

    name: str
    application: str
    source: str
    request: dict[str, Any]
    reads: dict[str, dict[str, Any]]
    status: int = 200
    serves: str = "both"
    ignored: str | None = None

    @property
    def body(self) -> dict[str, Any]:
        """What is sent; empty for a GET."""
        return dict(self.request.get("body", {}))


def recordings(serves: str) -> list[Recording]:
    """Load the recordings that are meant for a server of those kinds of model."""
    files = sorted(FOLDER.glob("*/*.json"))
    contents = [(file, json.loads(file.read_text("utf-8"))) for file in files]
    loaded = [Recording(f"{file.parent.name}/{file.stem}", **fields) for file, fields in contents]
    return [recording for recording in loaded if recording.serves == serves]


def replay(recording: Recording, client: httpx.Client) -> httpx.Response:
    """Send it with its own headers and no others than Host and the length."""
    recorded = recording.request
    content = json.dumps(recorded["body"]).encode() if "body" in recorded else None
    chunked = "chunked" in recorded["headers"].values()
    request = httpx.Request(
        recorded["method"],
        client.base_url.join(recorded["path"]),
        headers=recorded["headers"],
        content=_chunks(content) if chunked and content else content,
    )
    return client.send(request)


def check(recording: Recording, response: httpx.Response, client: httpx.Client) -> None:
    """Assert that the response has what the application reads."""
    assert response.status_code == recording.status, response.text
    assert response.headers.get("x-hearth-ignored-fields") == recording.ignored
    for pointer, expected in recording.reads.items():
        _check_value(_resolve(response.json(), pointer), expected, recording, client)


def _check_value(value: Any, expected: dict[str, Any], recording: Recording, client: httpx.Client) -> None:
    if "type" in expected:
        assert type(value) is TYPES[expected["type"]]
    if "value" in expected:
        assert value == expected["value"]
    if "holds" in expected:
        assert expected["holds"] in value
    if "keys" in expected:
        assert list(value) == expected["keys"]
    if "vectors" in expected:
        rows = [_row(_resolve(item, expected["vectors"]), expected.get("as", "float")) for item in value]
        assert np.array_equal(rows, _vectors(recording.body, client))
    if "scores" in expected:
        rows = [tuple(item[key] for key in expected["scores"]) for item in value]
        assert rows == _ranking(recording.body, client)
    if "documents" in expected:
        documents = recording.body.get("documents") or recording.body["texts"]
        assert [_resolve(item, expected["documents"]) for item in value] == [documents[item["index"]] for item in value]


def _resolve(body: Any, pointer: str) -> Any:
    for key in filter(None, pointer.split("/")):
        body = body[int(key) if isinstance(body, list) else key]
    return body


def _row(value: Any, encoding: str) -> Matrix:
    if encoding == "base64":
        assert isinstance(value, str)
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4")
    assert isinstance(value, list)
    return np.array(value, np.float32)


def _vectors(body: dict[str, Any], client: httpx.Client) -> Matrix:
    inputs = next((body[name] for name in ("input", "inputs", "texts") if name in body), None)
    if inputs is None:
        inputs = [message["content"][0]["text"] for (message,) in body["messages"]]
    fields = {name: body[name] for name in ("dimensions", "prompt_name") if name in body}
    for name in {"input_type", "task"} & set(body):
        fields["prompt_name"] = PROMPTS[body[name]]
    texts = [inputs] if isinstance(inputs, str) else inputs
    return np.array([vector(client, text, **fields) for text in texts])


def _ranking(body: dict[str, Any], client: httpx.Client) -> list[tuple[int, float]]:
    documents = body.get("documents") or body["texts"]
    pairs = {"queries": body["query"], "documents": documents}
    scores = [item["score"] for item in client.post("/score", json=pairs).json()["data"]]
    return sorted(enumerate(scores), key=lambda row: (-row[1], row[0]))[
        : body.get("top_n", body.get("top_k")) or len(documents)
    ]


def _chunks(content: bytes) -> Iterator[bytes]:
    yield content[:10]
    yield content[10:]
