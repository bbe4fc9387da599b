"""Short ways to ask a server and to read its answers, for tests over a real socket."""

from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

V1 = "/v1/embeddings"
FIREWORKS = "/inference/v1/embeddings"
RERANK = "/v1/rerank"
FIREWORKS_RERANK = "/inference/v1/rerank"

FOX = "The quick brown fox jumped over the lazy dog"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
QUERY = "What is the capital of France?"
# The documents of the seed's rerank program.
DOCUMENTS = [
    "Paris is the capital and largest city of France, home to the Eiffel Tower and the Louvre Museum.",
    "France is a country in Western Europe known for its wine, cuisine, and rich history.",
    "The weather in Europe varies significantly between northern and southern regions.",
    "Python is a popular programming language used for web development and data science.",
]
NO, YES = 2152, 9693

Matrix = NDArray[np.float32]


def body_of(document: str, query: str = QUERY, instruction: str = INSTRUCTION) -> str:
    """The bare body of the official rerank prompt, as the seed's program sends it."""
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"


BODIES = [body_of(document) for document in DOCUMENTS]


def embed(client: httpx.Client, given: Any, path: str = V1, **fields: Any) -> httpx.Response:
    """Post an embeddings request."""
    return client.post(path, json={"input": given, **fields})


def vectors(client: httpx.Client, given: Any, path: str = V1, **fields: Any) -> Matrix:
    """The rows of an embeddings answer, which must be 200."""
    answer = embed(client, given, path, **fields)
    assert answer.status_code == 200, answer.text
    return np.array([item["embedding"] for item in answer.json()["data"]], dtype=np.float32)


def vector(client: httpx.Client, given: Any, path: str = V1, **fields: Any) -> Matrix:
    """The one row of an embeddings answer."""
    rows = vectors(client, given, path, **fields)
    assert len(rows) == 1
    return rows[0]


def tokens(answer: httpx.Response) -> int:
    """What an answer says it used."""
    usage = answer.json()["usage"]
    assert usage == {"prompt_tokens": usage["total_tokens"], "total_tokens": usage["total_tokens"]}
    return int(usage["total_tokens"])


def content(answer: httpx.Response) -> dict[str, Any]:
    """An embeddings answer without its `id`, which no two requests share."""
    return {name: value for name, value in answer.json().items() if name != "id"}


def rerank(client: httpx.Client, path: str = RERANK, **fields: Any) -> httpx.Response:
    """Post a rerank request, by default the seed's."""
    return client.post(path, json={"query": QUERY, "documents": DOCUMENTS, **fields})


def scores(answer: httpx.Response) -> Matrix:
    """The scores of a rerank answer, which must be 200, in the order of the request's documents."""
    assert answer.status_code == 200, answer.text
    found = {item["index"]: item["relevance_score"] for item in answer.json()["data"]}
    return np.array([found[index] for index in sorted(found)], dtype=np.float32)


def cosine(one: Matrix, other: Matrix) -> float:
    """The cosine of two vectors, in float64."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def openai_error(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The `error` object in OpenAI's format, checked for the shape that every client reads."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error", "message", "detail"]
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code", "object"}
    assert error["object"] == "error"
    assert error["code"] is None or isinstance(error["code"], str)
    assert error["param"] is None or isinstance(error["param"], str)
    assert body["message"] == body["detail"] == error["message"]
    assert answer.headers["content-type"] == "application/json"
    return dict(error)


def fireworks_error(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The `error` object in Fireworks' format, checked that nothing stands beside it."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert set(error) == {"object", "type", "code", "message", "param"}
    assert error["object"] == "error"
    assert answer.headers["content-type"] == "application/json"
    return dict(error)
