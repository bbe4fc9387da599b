"""Fireworks' Python client, whose current version has no methods for embeddings and rerank."""

from importlib.metadata import version

import clients_page
import fireworks
import plain
from proving import FOX, Client

page = clients_page.run("Fireworks (Python)")
hearth: fireworks.Fireworks = page["client"]
busy = hearth.with_options(base_url=plain.BUSY_URL)
slow = hearth.with_options(base_url=plain.SLOW_URL, timeout=0.3, max_retries=0)


def embed(texts, client=hearth, **fields):
    body = {"model": plain.EMBEDDER, "input": texts, **fields}
    answer = client.post("/inference/v1/embeddings", body=body, cast_to=object)
    return [item["embedding"] for item in answer["data"]]


def rank(query, documents, **fields):
    body = {"model": plain.RERANKER, "query": query, "documents": documents, **fields}
    return hearth.post("/inference/v1/rerank", body=body, cast_to=object)["data"]


def rank_documents(query, documents):
    data = rank(query, documents)
    assert [item["document"] for item in data] == [documents[item["index"]] for item in data]
    return pairs(data)


def rank_texts(query, documents):
    data = rank(query, documents, return_documents=False)
    assert not any("document" in item for item in data)
    return pairs(data)


def pairs(data):
    return [(item["index"], item["relevance_score"]) for item in data]


client = Client(f"fireworks-ai {version('fireworks-ai')}", path="/inference/v1/embeddings")
client.embeds(embed, shown=page["vectors"])
client.cannot("it reads no answer by itself: what is asked for comes as it is", "base64")
client.shortens(lambda texts: embed(texts, dimensions=64))
client.takes_ids(embed)
client.ranks(rank_documents, shown=pairs(page["ranked"]))
client.ranks_texts(rank_texts)
client.fails(lambda: embed(FOX, dimensions=0), fireworks.BadRequestError, "'dimensions': must be between 1 and 256")
client.retries(lambda texts: embed(texts, busy))
client.gives_up(lambda: embed(FOX, slow), fireworks.APITimeoutError)
