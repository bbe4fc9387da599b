"""LangChain's packages for OpenAI (as the page has it, and by default), Fireworks and Cohere, and community's Jina."""

import logging
import warnings
from importlib.metadata import version

import clients_page
import cohere
import httpx
import openai
import plain
from langchain_cohere import CohereEmbeddings
from langchain_core.documents import Document
from langchain_openai import OpenAIEmbeddings
from proving import BATCH, FOX, Client, raised, same

logging.disable()
warnings.simplefilter("ignore")

# No list of OpenAI's ids for these passes for the model's own.
INDEXED = [" ".join([text] * 20) for text in plain.DOCUMENTS]
# Its two ids are also two of the demo vocabulary's own.
AMBIGUOUS = " no no"
EMBEDDING = ("embed", "batch", "base64", "dimensions", "token_ids")
RANKING = ("rerank", "rerank_texts")


def prove_openai() -> None:
    page = clients_page.run("LangChain: OpenAI")
    client = Client(f"langchain-openai {version('langchain-openai')}")
    client.embeds(page["embeddings"].embed_documents, shown=page["vectors"], one=page["embeddings"].embed_query)
    client.packs(lambda texts: openai_embeddings(plain.BUSY_URL).embed_documents(texts))
    client.shortens(lambda texts: openai_embeddings(dimensions=64).embed_documents(texts))
    client.cannot("it sends texts only", "token_ids")
    client.cannot("it embeds only", *RANKING)
    unknown = openai_embeddings(model="nope")
    client.fails(lambda: unknown.embed_query(FOX), openai.NotFoundError, "`nope` does not exist")
    client.retries(lambda texts: openai_embeddings(plain.BUSY_URL).embed_documents(texts))
    slow = openai_embeddings(plain.SLOW_URL, timeout=0.3, max_retries=0)
    client.gives_up(lambda: slow.embed_query(FOX), openai.APITimeoutError)


def openai_embeddings(url=plain.URL, **options):
    known = {"model": plain.EMBEDDER, "base_url": f"{url}/v1", "api_key": plain.KEY}
    return OpenAIEmbeddings(**known | {"check_embedding_ctx_length": False} | options)


def prove_openai_by_default() -> None:
    """Indexing texts gives the error that names the fix; never another text's vectors."""
    client = Client(f"langchain-openai {version('langchain-openai')}, default settings")
    embeddings = openai_embeddings(check_embedding_ctx_length=True)
    with client.cell(
        "token_ids",
        "refused, in words that name the fix; a few short texts may pass for native ids, as clients.md tells",
    ):
        for texts in (INDEXED, BATCH):
            error = raised(lambda texts=texts: embeddings.embed_documents(texts), openai.BadRequestError)
            assert "set check_embedding_ctx_length=False" in str(error), error
    why = "by default it sends token ids of OpenAI's vocabulary, whatever the model"
    client.cannot(why, "embed", "batch", "base64", "dimensions", "errors", "retry", "timeout")
    client.cannot("it embeds only", *RANKING)


def prove_openai_read(settings: str, model: str, batch: list[str]) -> None:
    """Where the vocabulary is at hand, the right vectors."""
    client = Client(f"langchain-openai {version('langchain-openai')}, default settings, {settings}")
    if plain.READING_URL:
        embeddings = openai_embeddings(plain.READING_URL, model=model, check_embedding_ctx_length=True)
        client.embeds(embeddings.embed_documents, shown=None, one=embeddings.embed_query)
        with client.cell("token_ids"):
            same(embeddings.embed_documents(batch), plain.vectors(batch))
    else:
        client.cannot("not run: no tiktoken, or no file of cl100k_base", "embed", "batch", "token_ids")
    client.cannot("as without its default settings", "base64", "dimensions", "errors", "retry", "timeout")
    client.cannot("it embeds only", *RANKING)


def prove_fireworks() -> None:
    page = clients_page.run("LangChain: Fireworks")
    embeddings = page["embeddings"]
    hearth = embeddings.client

    def embed_busily(texts):
        embeddings.client = hearth.with_options(base_url=f"{plain.BUSY_URL}/inference/v1")
        return embeddings.embed_documents(texts)

    def embed_slowly():
        embeddings.client = hearth.with_options(base_url=f"{plain.SLOW_URL}/v1", timeout=0.3, max_retries=0)
        return embeddings.embed_documents([FOX])

    client = Client(f"langchain-fireworks {version('langchain-fireworks')}", path="/inference/v1/embeddings")
    client.embeds(embeddings.embed_documents, shown=page["vectors"], one=embeddings.embed_query)
    client.cannot("the client has no such option", "dimensions")
    client.cannot("it sends texts only", "token_ids")
    prove_ranking(client, page)
    unknown = embeddings.model_copy(update={"model": "nope"})
    client.fails(lambda: unknown.embed_query(FOX), openai.NotFoundError, "Model not found")
    client.packs(embed_busily)
    client.retries(embed_busily)
    client.gives_up(embed_slowly, openai.APITimeoutError)


def prove_cohere() -> None:
    page = clients_page.run("LangChain: Cohere")
    known = {"model": plain.EMBEDDER, "cohere_api_key": plain.KEY}
    busy = CohereEmbeddings(base_url=plain.BUSY_URL, **known)
    slow = CohereEmbeddings(base_url=plain.SLOW_URL, request_timeout=0.3, max_retries=1, **known)
    unknown = CohereEmbeddings(base_url=plain.URL, **known | {"model": "nope"})
    client = Client(f"langchain-cohere {version('langchain-cohere')}")
    client.embeds(page["embeddings"].embed_documents, shown=page["vectors"])
    client.cannot("the client has no such option", "base64", "dimensions")
    client.cannot("it sends texts only", "token_ids")
    prove_ranking(client, page)
    client.fails(lambda: unknown.embed_query(FOX), cohere.NotFoundError, "`nope` does not exist")
    client.retries(busy.embed_documents)
    client.gives_up(lambda: slow.embed_documents([FOX]), httpx.TimeoutException)


def prove_jina() -> None:
    page = clients_page.run("LangChain: Jina rerank")
    client = Client(f"langchain-community {version('langchain-community')}, Jina rerank")
    client.cannot("it reranks only", *EMBEDDING)
    prove_ranking(client, page)
    call = {"query": plain.QUERY, "documents": plain.DOCUMENTS, "model": "nope"}
    client.fails(lambda: page["reranker"].rerank(**call), RuntimeError, "`nope` does not exist")
    client.cannot("it asks once, and waits for ever", "retry", "timeout")


def prove_ranking(client: Client, page) -> None:
    reranker = page["reranker"]

    def rank_documents(query, texts):
        documents = [Document(text, metadata={"place": place}) for place, text in enumerate(texts)]
        found = reranker.compress_documents(documents, query)
        assert [each.page_content for each in found] == [texts[each.metadata["place"]] for each in found]
        return [(each.metadata["place"], each.metadata["relevance_score"]) for each in found]

    client.ranks(rank_documents, shown=pairs(page["ranked"]))
    client.ranks_texts(lambda query, texts: pairs(reranker.rerank(query=query, documents=texts)))


def pairs(results):
    return [(item["index"], item["relevance_score"]) for item in results]


prove_openai()
prove_openai_by_default()
prove_openai_read("cl100k_base at hand", plain.EMBEDDER, INDEXED)
prove_openai_read("and `token_ids: cl100k_base`", "openai", [*INDEXED, AMBIGUOUS])
prove_fireworks()
prove_cohere()
prove_jina()
