"""Hugging Face's InferenceClient, against the route that text-embeddings-inference has."""

import clients_page
import huggingface_hub
import plain
from huggingface_hub import InferenceClient, InferenceTimeoutError
from huggingface_hub.errors import BadRequestError
from proving import FOX, Client

page = clients_page.run("Hugging Face: InferenceClient")
hearth: InferenceClient = page["client"]
slow = InferenceClient(model=f"{plain.SLOW_URL}/embed", token=plain.KEY, timeout=0.3)

client = Client(f"huggingface_hub {huggingface_hub.__version__}, InferenceClient")
client.embeds(hearth.feature_extraction, shown=page["vectors"], one=lambda text: hearth.feature_extraction(text)[0])
client.cannot("TEI's own route gives numbers only", "base64")
client.shortens(lambda texts: hearth.feature_extraction(texts, dimensions=64))
client.takes_ids(hearth.feature_extraction)
client.cannot("it embeds only", "rerank", "rerank_texts")
client.fails(
    lambda: hearth.feature_extraction(FOX, dimensions=0), BadRequestError, "'dimensions': must be between 1 and 256"
)
client.cannot("it asks once", "retry")
client.gives_up(lambda: slow.feature_extraction(FOX), InferenceTimeoutError)
