"""LlamaIndex: OpenAI-like and TEI embeddings, Cohere's and Jina's rerank."""

import logging
from importlib.metadata import version

import clients_page
import cohere
import httpx
import openai
import plain
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.cohere_rerank import CohereRerank
from proving import FOX, SHOWN_DOCUMENTS, Client

logging.disable()

EMBEDDING = ("embed", "batch", "base64", "dimensions", "token_ids")
RANKING = ("rerank", "rerank_texts")


def prove_openai() -> None:
    def embeddings(url=plain.URL, **options):
        known = {"model_name": plain.EMBEDDER, "api_base": f"{url}/v1", "api_key": plain.KEY}
        return OpenAILikeEmbedding(**known | options)

    page = clients_page.run("LlamaIndex: OpenAI")
    held = page["embeddings"]
    busy, unknown = embeddings(plain.BUSY_URL), embeddings(model_name="nope")
    slow = embeddings(plain.SLOW_URL, timeout=0.3, max_retries=0)
    client = Client(f"llama-index-embeddings-openai-like {version('llama-index-embeddings-openai-like')}")
    client.embeds(held.get_text_embedding_batch, shown=page["vectors"], one=held.get_query_embedding)
    client.packs(busy.get_text_embedding_batch)
    client.shortens(embeddings(dimensions=64).get_text_embedding_batch)
    client.cannot("it sends texts only", "token_ids")
    client.cannot("it embeds only", *RANKING)
    client.fails(lambda: unknown.get_text_embedding(FOX), openai.NotFoundError, "`nope` does not exist")
    client.retries(busy.get_text_embedding_batch)
    client.gives_up(lambda: slow.get_text_embedding(FOX), openai.APITimeoutError)


def prove_tei() -> None:
    page = clients_page.run("LlamaIndex: text-embeddings-inference")
    held = page["embeddings"]
    known = {"model_name": plain.EMBEDDER, "auth_token": plain.KEY, "text_instruction": "", "query_instruction": ""}
    slow = TextEmbeddingsInference(base_url=plain.SLOW_URL, timeout=0.3, **known)
    package = "llama-index-embeddings-text-embeddings-inference"
    client = Client(f"{package} {version(package)}")
    client.embeds(held.get_text_embedding_batch, shown=page["vectors"], one=held.get_query_embedding)
    client.cannot("TEI's own route gives numbers only", "base64")
    client.cannot("the client has no such option", "dimensions")
    client.cannot("it sends texts only", "token_ids")
    client.cannot("it embeds only", *RANKING)
    client.cannot("it looks at no status: an error ends in a KeyError, and nothing is asked again", "errors", "retry")
    client.gives_up(lambda: slow.get_text_embedding(FOX), httpx.TimeoutException)


def prove_rerank(name: str, package: str) -> Client:
    page = clients_page.run(name)
    reranker = page["reranker"]
    client = Client(f"{package} {version(package)}")
    client.cannot("it reranks only", *EMBEDDING)
    shown = [(SHOWN_DOCUMENTS.index(each.node.get_content()), each.score) for each in page["ranked"]]
    client.ranks(lambda query, texts: rank(reranker, query, texts), shown=shown)
    client.cannot("it never asks to leave documents out", "rerank_texts")
    return client


def rank(reranker, query, texts):
    reranker.top_n = len(texts)
    found = reranker.postprocess_nodes([NodeWithScore(node=TextNode(text=text)) for text in texts], QueryBundle(query))
    return [(texts.index(each.node.get_content()), each.score) for each in found]


def prove_cohere() -> None:
    client = prove_rerank("LlamaIndex: Cohere rerank", "llama-index-postprocessor-cohere-rerank")
    known = {"api_key": plain.KEY, "base_url": plain.URL, "model": plain.RERANKER}
    unknown = CohereRerank(**known | {"model": "nope"})
    busy = CohereRerank(**known | {"base_url": plain.BUSY_URL})
    client.fails(lambda: rank(unknown, plain.QUERY, plain.DOCUMENTS), cohere.NotFoundError, "`nope` does not exist")
    client.retries_ranking(lambda query, texts: rank(busy, query, texts))
    client.cannot("the client has no such option", "timeout")


def prove_jina() -> None:
    client = prove_rerank("LlamaIndex: Jina rerank", "llama-index-postprocessor-jinaai-rerank")
    unknown = clients_page.run("LlamaIndex: Jina rerank")["reranker"]
    unknown.model = "nope"
    client.fails(lambda: rank(unknown, plain.QUERY, plain.DOCUMENTS), RuntimeError, "`nope` does not exist")
    client.cannot("it asks once, and waits for ever", "retry", "timeout")


prove_openai()
prove_tei()
prove_cohere()
prove_jina()
