"""Fireworks' Python client before version 1, with methods for embeddings and rerank."""

import base64
import struct
from importlib.metadata import version

import clients_page
import httpx
import plain
from fireworks.client import Fireworks
from fireworks.client.error import InvalidRequestError
from proving import FOX, Client, same

page = clients_page.run("Fireworks (Python), before version 1")
hearth: Fireworks = page["client"]
slow = Fireworks(base_url=f"{plain.SLOW_URL}/v1", api_key=plain.KEY, timeout=0.3)


def embed(texts, client=hearth, **fields):
    return [item.embedding for item in client.embeddings.create(model=plain.EMBEDDER, input=texts, **fields).data]


def rank(query, documents):
    found = hearth.rerank.create(model=plain.RERANKER, query=query, documents=documents, return_documents=False)
    return pairs(found.results)


def pairs(results):
    return [(item.index, item.relevance_score) for item in results]


client = Client(f"fireworks-ai {version('fireworks-ai')}")
client.embeds(embed, shown=page["vectors"])
with client.cell("base64"):
    (text,) = embed(FOX, encoding_format="base64")
    same([struct.unpack("<256f", base64.b64decode(text))], plain.vectors(FOX))
client.shortens(lambda texts: embed(texts, dimensions=64))
client.takes_ids(embed)
client.cannot("it reads no documents", "rerank")
client.ranks_texts(rank, shown=pairs(page["ranked"]))
client.fails(lambda: embed(FOX, dimensions=0), InvalidRequestError, "'dimensions': must be between 1 and 256")
client.cannot("it asks once", "retry")
client.gives_up(lambda: embed(FOX, slow), httpx.TimeoutException)
