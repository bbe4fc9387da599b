"""Haystack: OpenAI's embedders, Cohere's and Jina's rankers."""

import logging
from importlib.metadata import version

import clients_page
import cohere
import openai
import plain
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from proving import FOX, SHOWN_DOCUMENTS, Client

logging.disable()

EMBEDDING = ("embed", "batch", "base64", "dimensions", "token_ids")
KEY = Secret.from_token(plain.KEY)


def embed(embedder, texts):
    documents = embedder.run([Document(content=text) for text in texts])["documents"]
    return [document.embedding for document in documents]


def prove_openai() -> None:
    def embedder(url=plain.URL, **options):
        known = {"model": plain.EMBEDDER, "api_base_url": f"{url}/v1", "api_key": KEY, "raise_on_failure": True}
        return OpenAIDocumentEmbedder(progress_bar=False, **known | options)

    page = clients_page.run("Haystack: OpenAI embedders")
    slow = embedder(plain.SLOW_URL, timeout=0.3, max_retries=0)
    client = Client(f"haystack-ai {version('haystack-ai')}, OpenAI embedders")
    client.embeds(
        lambda texts: embed(page["embedder"], texts),
        shown=page["vectors"],
        one=lambda text: page["text_embedder"].run(text)["embedding"],
    )
    client.cannot("it asks for numbers itself", "base64")
    client.shortens(lambda texts: embed(embedder(dimensions=64), texts))
    client.cannot("it sends texts only", "token_ids")
    client.cannot("it embeds only", "rerank", "rerank_texts")
    client.fails(lambda: embed(embedder(model="nope"), [FOX]), openai.NotFoundError, "`nope` does not exist")
    client.retries(lambda texts: embed(embedder(plain.BUSY_URL), texts))
    client.gives_up(lambda: embed(slow, [FOX]), openai.APITimeoutError)


def prove_ranking(title: str, package: str) -> Client:
    page = clients_page.run(title)
    client = Client(f"{package} {version(package)}")
    client.cannot("it reranks only", *EMBEDDING)
    shown = [(SHOWN_DOCUMENTS.index(document.content), document.score) for document in page["ranked"]]
    client.ranks(lambda query, texts: rank(page["ranker"], query, texts), shown=shown)
    client.cannot("it never asks to leave documents out", "rerank_texts")
    return client


def rank(ranker, query, texts):
    found = ranker.run(query, [Document(content=text) for text in texts])["documents"]
    return [(texts.index(document.content), document.score) for document in found]


def prove_cohere() -> None:
    client = prove_ranking("Haystack: Cohere ranker", "cohere-haystack")
    unknown = CohereRanker("nope", api_base_url=plain.URL, api_key=KEY)
    busy = CohereRanker(plain.RERANKER, api_base_url=plain.BUSY_URL, api_key=KEY)
    client.fails(lambda: rank(unknown, plain.QUERY, plain.DOCUMENTS), cohere.NotFoundError, "`nope` does not exist")
    client.retries_ranking(lambda query, texts: rank(busy, query, texts))
    client.cannot("the client has no such option", "timeout")


def prove_jina() -> None:
    client = prove_ranking("Haystack: Jina ranker", "jina-haystack")
    unknown = clients_page.run("Haystack: Jina ranker")["ranker"]
    unknown.model = "nope"
    client.fails(lambda: rank(unknown, plain.QUERY, plain.DOCUMENTS), RuntimeError, "`nope` does not exist")
    client.cannot("it asks once, and the client has no such option", "retry", "timeout")


prove_openai()
prove_cohere()
prove_jina()
