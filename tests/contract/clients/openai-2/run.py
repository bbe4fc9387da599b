"""OpenAI's Python client; openai-3 runs this too."""

import base64
import struct

import clients_page
import openai
import plain
from proving import FOX, Client, same

page = clients_page.run("OpenAI (Python)")
hearth: openai.OpenAI = page["client"]
busy = hearth.with_options(base_url=f"{plain.BUSY_URL}/v1")
slow = hearth.with_options(base_url=f"{plain.SLOW_URL}/v1", timeout=0.3)


def embed(texts, client=hearth, **fields):
    answer = client.embeddings.create(model=plain.EMBEDDER, input=texts, **fields)
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return [item.embedding for item in answer.data]


def rank(query, documents, **fields):
    body = {"model": plain.RERANKER, "query": query, "documents": documents, **fields}
    return hearth.post("/rerank", body=body, cast_to=object)["data"]


def rank_documents(query, documents):
    data = rank(query, documents)
    assert [item["document"] for item in data] == [documents[item["index"]] for item in data]
    return [(item["index"], item["relevance_score"]) for item in data]


def rank_texts(query, documents):
    data = rank(query, documents, return_documents=False)
    assert not any("document" in item for item in data)
    return [(item["index"], item["relevance_score"]) for item in data]


client = Client(f"openai-python {openai.__version__}")
client.embeds(embed, shown=page["vectors"], one=lambda text: embed(text)[0])
with client.cell("base64"):
    # Asked for by name, so that the client leaves it as it is; by default it asks for base64 and decodes.
    (text,) = embed(FOX, encoding_format="base64")
    same([struct.unpack("<256f", base64.b64decode(text))], plain.vectors(FOX))
    (levels,) = embed(FOX, encoding_format="float", extra_body={"output_dtype": "int8"})
    (numbers,) = plain.vectors(FOX)
    assert all(abs(level / 127 - number) <= 0.51 / 127 for level, number in zip(levels, numbers, strict=True))
client.shortens(lambda texts: embed(texts, dimensions=64))
client.takes_ids(embed)
client.ranks(rank_documents, shown=[(item["index"], item["relevance_score"]) for item in page["ranked"]])
client.ranks_texts(rank_texts)
client.fails(
    lambda: embed(FOX, dimensions=0), openai.BadRequestError, "Invalid 'dimensions': must be between 1 and 256"
)
client.retries(lambda texts: embed(texts, busy))
client.gives_up(lambda: embed(FOX, slow), openai.APITimeoutError)
