"""The servers by plain HTTP, from the standard library: what clients must agree with."""

import json
import os
from collections.abc import Sequence
from typing import Any
from urllib.request import Request, urlopen

URL = os.environ["HEARTH_URL"]
KEY = os.environ["HEARTH_KEY"]
EMBEDDER = os.environ["HEARTH_EMBEDDER"]
RERANKER = os.environ["HEARTH_RERANKER"]
READING_URL = os.environ["HEARTH_READING_URL"]
BUSY_URL = os.environ["HEARTH_BUSY_URL"]
SLOW_URL = os.environ["HEARTH_SLOW_URL"]

QUERY = "What is the capital of France?"
DOCUMENTS = [
    "The weather in Europe varies significantly between northern and southern regions.",
    "Paris is the capital and largest city of France, home to the Eiffel Tower.",
    "Python is a popular programming language used for web development and data science.",
]


def post(path: str, body: Any, url: str = URL) -> Any:
    """The answer's JSON; other statuses than 200 raise."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with urlopen(Request(url + path, json.dumps(body).encode(), headers), timeout=60) as answer:
        return json.load(answer)


def vectors(texts: Any, path: str = "/v1/embeddings", **fields: Any) -> list[list[float]]:
    """What the server answers; with further fields of the request."""
    return [item["embedding"] for item in post(path, {"model": EMBEDDER, "input": texts, **fields})["data"]]


def scores(query: str = QUERY, documents: Sequence[str] = DOCUMENTS, **fields: Any) -> list[tuple[int, float]]:
    """Index and score of each document, best first."""
    answer = post("/v1/rerank", {"model": RERANKER, "query": query, "documents": documents, **fields})
    return [(item["index"], item["relevance_score"]) for item in answer["data"]]


def busy_again() -> dict[str, Any]:
    """From now on the busy server refuses its next request, once; how many it had (asked), and the last one's body."""
    return post("/again", {}, BUSY_URL)
