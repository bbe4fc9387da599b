"""Facts about published checkpoints that their files do not give. The sources are the model cards."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Qwen3-Embedding README: the default task, and no space after `Query:`.
QWEN3 = {
    "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
    "document": "",
}
# Model cards of bge-*-en-v1.5, mxbai-embed-large-v1 and UAE-Large-V1.
REPRESENT = {"query": "Represent this sentence for searching relevant passages: ", "document": ""}
# Model card of nomic-embed-text-v1 and v1.5, "Task instruction prefixes".
NOMIC = {
    "query": "search_query: ",
    "document": "search_document: ",
    "clustering": "clustering: ",
    "classification": "classification: ",
}


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """Whether vectors may be cut to `dimensions`, whether a layer norm comes before the cut, and the named prompts."""

    matryoshka: bool = True
    layer_norm_before_dimensions: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)


NOT_MATRYOSHKA = PublishedModel(matryoshka=False)

# By the last part of the repository's name, in lower case.
PUBLISHED: Mapping[str, PublishedModel] = {
    # Model card of nomic-embed-text-v1.5, "Usage": layer_norm over the full width, then the slice.
    "nomic-embed-text-v1.5": PublishedModel(layer_norm_before_dimensions=True, prompts=NOMIC),
    "nomic-embed-text-v1": PublishedModel(matryoshka=False, prompts=NOMIC),
    "uae-large-v1": PublishedModel(matryoshka=False, prompts=REPRESENT),
    "mxbai-embed-large-v1": PublishedModel(prompts=REPRESENT),
    "qwen3-embedding-0.6b": PublishedModel(prompts=QWEN3),
    "qwen3-embedding-4b": PublishedModel(prompts=QWEN3),
    "qwen3-embedding-8b": PublishedModel(prompts=QWEN3),
    "gte-large": NOT_MATRYOSHKA,
    "gte-base": NOT_MATRYOSHKA,
    "bge-base-en-v1.5": PublishedModel(matryoshka=False, prompts=REPRESENT),
    "bge-small-en-v1.5": PublishedModel(matryoshka=False, prompts=REPRESENT),
    "all-minilm-l6-v2": NOT_MATRYOSHKA,
    "paraphrase-multilingual-minilm-l12-v2": NOT_MATRYOSHKA,
}


# The repositories on the hub of the models above, and of Qwen's rerankers.
HUB_IDS = (
    "nomic-ai/nomic-embed-text-v1.5",
    "nomic-ai/nomic-embed-text-v1",
    "WhereIsAI/UAE-Large-V1",
    "mixedbread-ai/mxbai-embed-large-v1",
    "Qwen/Qwen3-Embedding-0.6B",
    "Qwen/Qwen3-Embedding-4B",
    "Qwen/Qwen3-Embedding-8B",
    "Qwen/Qwen3-Reranker-0.6B",
    "Qwen/Qwen3-Reranker-4B",
    "Qwen/Qwen3-Reranker-8B",
    "thenlper/gte-large",
    "thenlper/gte-base",
    "BAAI/bge-base-en-v1.5",
    "BAAI/bge-small-en-v1.5",
    "sentence-transformers/all-MiniLM-L6-v2",
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
)


def find_published(names: tuple[str, ...]) -> PublishedModel:
    """What is known about a model under any of its names; the defaults if nothing is known."""
    for name in names:
        if model := PUBLISHED.get(name.rstrip("/").rsplit("/", 1)[-1].lower()):
            return model
    return PublishedModel()
