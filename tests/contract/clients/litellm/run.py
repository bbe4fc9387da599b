"""LiteLLM, provider by provider: the bases are those of the page's table."""

import base64
import logging
import struct
from importlib.metadata import version

import clients_page
import litellm
import plain
from proving import FOX, Client, same

litellm.suppress_debug_info = True
logging.disable()

# The one that the page's code names.
SHOWN_PROVIDER = "hosted_vllm"
FIREWORKS = {"path": "/inference/v1/embeddings"}
BASE64 = ("hosted_vllm", "openai", "voyage", "together_ai", "cohere", "infinity")
TEXTS_ONLY = ("cohere", "huggingface")
NO_DIMENSIONS = ("fireworks_ai", "huggingface")
# What else each provider has to be told.
EMBED = {"huggingface": {"input_type": "feature-extraction"}}


class Provider:
    """One row of the page's table."""

    def __init__(self, name: str, embed_base: str, rank_base: str) -> None:
        self.name = name
        self._bases = {plain.EMBEDDER: embed_base, plain.RERANKER: rank_base}
        self._more = EMBED.get(name, {})

    @property
    def ranks(self) -> bool:
        return self._bases[plain.RERANKER] != "none"

    def where(self, model, server=plain.URL):
        base = self._bases[model].replace(plain.URL, server)
        return {"model": f"{self.name}/{model}", "api_base": base, "api_key": plain.KEY}

    def embed(self, texts, **more):
        where = self.where(plain.EMBEDDER)
        return vectors(litellm.embedding(input=texts, **{**where, **self._more, **more}))

    def embed_busily(self, texts):
        where = self.where(plain.EMBEDDER, plain.BUSY_URL)
        router = litellm.Router([{"model_name": "hearth", "litellm_params": where}], num_retries=1)
        return vectors(router.embedding("hearth", texts, **self._more))

    def embed_slowly(self):
        where = self.where(plain.EMBEDDER, plain.SLOW_URL)
        return litellm.embedding(input=[FOX], timeout=0.3, max_retries=0, **where, **self._more)

    def rank(self, query, documents, **more):
        where = self.where(plain.RERANKER)
        return litellm.rerank(query=query, documents=documents, **where, **more).results

    def rank_documents(self, query, documents):
        results = self.rank(query, documents)
        assert [item["document"]["text"] for item in results] == [documents[item["index"]] for item in results]
        return pairs(results)

    def rank_texts(self, query, documents):
        results = self.rank(query, documents, return_documents=False)
        assert not any(item.get("document") for item in results)
        return pairs(results)


def vectors(answer):
    return [item["embedding"] for item in answer.data]


def pairs(results):
    return [(item["index"], item["relevance_score"]) for item in results]


def unpacked(text):
    raw = base64.b64decode(text)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def prove(provider: Provider) -> None:
    fields = FIREWORKS if provider.name == "fireworks_ai" else {}
    client = Client(f"litellm {version('litellm')}, {provider.name}", **fields)
    client.embeds(provider.embed, shown=page["vectors"] if provider.name == SHOWN_PROVIDER else None)
    prove_options(client, provider)
    prove_ids(client, provider)
    prove_ranking(client, provider)
    prove_errors(client, provider)
    client.retries(provider.embed_busily)
    if provider.name == "huggingface":
        client.cannot("LiteLLM does not pass `timeout` on to this provider's embeddings", "timeout")
    else:
        client.gives_up(provider.embed_slowly, litellm.Timeout)


def prove_options(client: Client, provider: Provider) -> None:
    if provider.name in BASE64:
        with client.cell("base64"):
            same(map(unpacked, provider.embed([FOX], encoding_format="base64")), plain.vectors([FOX]))
    else:
        client.cannot("LiteLLM lets this provider have no `encoding_format`", "base64")
    if provider.name in NO_DIMENSIONS:
        client.cannot("LiteLLM lets this provider have no `dimensions`", "dimensions")
    else:
        more = {"allowed_openai_params": ["dimensions"]} if provider.name == "openai" else {}
        client.shortens(lambda texts: provider.embed(texts, dimensions=64, **more))


def prove_ids(client: Client, provider: Provider) -> None:
    if provider.name in TEXTS_ONLY:
        client.cannot("it sends texts only", "token_ids")
    else:
        client.takes_ids(provider.embed)


def prove_ranking(client: Client, provider: Provider) -> None:
    if not provider.ranks:
        return client.cannot("it embeds only", "rerank", "rerank_texts")
    if provider.name == "infinity":
        client.cannot("this provider takes `results[].document` as a string only, all others as an object", "rerank")
    else:
        client.ranks(provider.rank_documents, shown=pairs(page["ranked"]) if provider.name == SHOWN_PROVIDER else None)
    return client.ranks_texts(provider.rank_texts)


def prove_errors(client: Client, provider: Provider) -> None:
    if provider.name == "huggingface":  # it sends no model name
        mistake, error, message = {"api_key": "wrong"}, litellm.AuthenticationError, "Incorrect API key provided"
    elif provider.name == "fireworks_ai":  # a 404 of Fireworks is a bad request to LiteLLM
        mistake, error, message = {"model": "fireworks_ai/nope"}, litellm.BadRequestError, "Model not found"
    else:
        mistake, error, message = {"model": f"{provider.name}/nope"}, litellm.NotFoundError, "`nope` does not exist"
    client.fails(lambda: provider.embed([FOX], **mistake), error, message)


page = clients_page.run("LiteLLM")
for row in clients_page.table("LiteLLM"):
    prove(Provider(*row))
