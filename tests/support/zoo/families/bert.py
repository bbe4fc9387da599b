"""The BERT-family embedders that the seed documents name. Source: the repositories' own files."""

from tests.support.zoo.recipe import JsonObject, Modules, Recipe, published
from tests.support.zoo.tokenizers.vocabularies import BERT_WORDS, MINILM_WORDS, MULTILINGUAL_WORDS

BASE = published("bert-base-uncased")
LARGE = {**BASE, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}
SMALL = {**BASE, "hidden_size": 384, "intermediate_size": 1536}
LABELS = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
REDUCED: JsonObject = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
}
QUERY = "Represent this sentence for searching relevant passages: "


def _bert(name: str, config: JsonObject, modules: Modules, *, max_tokens: int = 512, **about: object) -> Recipe:
    words = MINILM_WORDS if "MiniLM-L6" in name else MULTILINGUAL_WORDS if "multilingual" in name else BERT_WORDS
    return Recipe(
        name=name,
        seed_name=name,
        config=config,
        reduced=REDUCED,
        vocabulary=words,
        modules=modules,
        max_tokens=max_tokens,
        **({"dimensions": False} | about),  # type: ignore[arg-type]
    )


BERT = (
    _bert("WhereIsAI/UAE-Large-V1", LARGE, Modules("cls", normalize=False, max_seq_length=512), card_query=QUERY),
    _bert("thenlper/gte-large", LARGE, Modules("mean", normalize=True, max_seq_length=512)),
    _bert("thenlper/gte-base", BASE, Modules("mean", normalize=True, max_seq_length=512)),
    _bert(
        "BAAI/bge-base-en-v1.5",
        {**BASE, **LABELS},
        Modules("cls", normalize=True, max_seq_length=512),
        card_query=QUERY,
    ),
    _bert(
        "BAAI/bge-small-en-v1.5",
        {**SMALL, **LABELS},
        Modules("cls", normalize=True, max_seq_length=512),
        card_query=QUERY,
    ),
    _bert(
        "mixedbread-ai/mxbai-embed-large-v1",
        {**LARGE, "use_cache": False},
        Modules("cls", normalize=False, max_seq_length=512, prompts={"query": QUERY}),
        dimensions=True,
    ),
    _bert(
        "sentence-transformers/all-MiniLM-L6-v2",
        {**SMALL, "num_hidden_layers": 6},
        Modules("mean", normalize=True, max_seq_length=256),
        max_tokens=256,
    ),
    _bert(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        {**SMALL, "vocab_size": 250037},
        Modules("mean", normalize=False, max_seq_length=128),
        max_tokens=128,
    ),
)
