"""Cohere's Python client, both versions of its API; cohere-7 runs this too."""

import base64
import struct
from importlib.metadata import version

import clients_page
import cohere
import httpx
import plain
from proving import FOX, Client, same

WHAT = {"model": plain.EMBEDDER, "input_type": "search_document"}


def prove_v2() -> None:
    page = clients_page.run("Cohere (Python), version 2")
    hearth: cohere.ClientV2 = page["client"]
    busy = cohere.ClientV2(base_url=plain.BUSY_URL, api_key=plain.KEY)
    slow = cohere.ClientV2(base_url=plain.SLOW_URL, api_key=plain.KEY, timeout=0.3)

    def embed(texts, client=hearth, **more):
        return client.embed(texts=texts, embedding_types=["float"], **WHAT, **more).embeddings.float_

    client = Client(f"cohere {version('cohere')}, ClientV2")
    client.embeds(embed, shown=page["vectors"])
    with client.cell("base64"):
        found = hearth.embed(texts=[FOX], embedding_types=["base64"], **WHAT).embeddings.base64
        same(map(unpacked, found), plain.vectors([FOX]))
        (levels,) = hearth.embed(texts=[FOX], embedding_types=["int8"], **WHAT).embeddings.int8
        assert nearest(levels, *plain.vectors([FOX]))
    client.shortens(lambda texts: embed(texts, output_dimension=64))
    client.cannot("it sends texts only", "token_ids")
    client.ranks(lambda query, documents: rank(hearth, query, documents), shown=pairs(page["ranked"]))
    client.cannot("it never asks to leave documents out", "rerank_texts")
    prove_failures(client, hearth, busy, slow)


def prove_v1() -> None:
    page = clients_page.run("Cohere (Python), version 1")
    hearth: cohere.Client = page["client"]
    busy = cohere.Client(base_url=plain.BUSY_URL, api_key=plain.KEY)
    slow = cohere.Client(base_url=plain.SLOW_URL, api_key=plain.KEY, timeout=0.3)

    def embed(texts):
        return hearth.embed(texts=texts, **WHAT).embeddings

    def rank_documents(query, documents):
        results = hearth.rerank(model=plain.RERANKER, query=query, documents=documents, return_documents=True).results
        assert [item.document.text for item in results] == [documents[item.index] for item in results]
        return pairs(results)

    def rank_texts(query, documents):
        results = hearth.rerank(model=plain.RERANKER, query=query, documents=documents, return_documents=False).results
        assert not any(item.document for item in results)
        return pairs(results)

    client = Client(f"cohere {version('cohere')}, Client")
    client.embeds(embed, shown=page["vectors"])
    with client.cell("base64"):
        found = hearth.embed(texts=[FOX], embedding_types=["base64"], **WHAT).embeddings.base64
        same(map(unpacked, found), plain.vectors([FOX]))
    client.cannot("the client has no such option", "dimensions")
    client.cannot("it sends texts only", "token_ids")
    client.ranks(rank_documents, shown=pairs(page["ranked"]))
    client.ranks_texts(rank_texts)
    prove_failures(client, hearth, busy, slow)


def prove_failures(client: Client, hearth, busy, slow) -> None:
    unknown = {"model": "nope", "query": plain.QUERY, "documents": plain.DOCUMENTS}
    client.fails(lambda: hearth.rerank(**unknown), cohere.NotFoundError, "`nope` does not exist")
    client.retries_ranking(lambda query, documents: rank(busy, query, documents))
    once = {"request_options": {"max_retries": 0}}
    client.gives_up(lambda: slow.rerank(**unknown, **once), httpx.TimeoutException)


def rank(client, query, documents):
    return pairs(client.rerank(model=plain.RERANKER, query=query, documents=documents).results)


def pairs(results):
    return [(item.index, item.relevance_score) for item in results]


def nearest(levels, vector):
    return all(abs(level / 127 - number) <= 0.51 / 127 for level, number in zip(levels, vector, strict=True))


def unpacked(text):
    raw = base64.b64decode(text)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


prove_v2()
prove_v1()
