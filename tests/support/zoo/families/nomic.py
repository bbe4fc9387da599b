"""nomic-embed-text v1 and v1.5, in the hub's old configuration form (GPT-2's words) and in the library's own."""

from tests.support.zoo.recipe import JsonObject, Modules, Recipe, published
from tests.support.zoo.tokenizers.vocabularies import BERT_WORDS

# The library does not map the old sizes, so the weights are drawn by the native form.
OLD = published("nomic-embed-text-v1.5")
NATIVE = published("nomic-embed-text-v1.5-native")
OLD_REDUCED: JsonObject = {"n_embd": 64, "n_head": 4, "n_inner": 96, "n_layer": 3}
NATIVE_REDUCED: JsonObject = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
}


def _old(name: str, *, normalize: bool, dimensions: bool) -> Recipe:
    return Recipe(
        name=name,
        seed_name=name,
        config=OLD,
        reduced=OLD_REDUCED,
        native=NATIVE,
        native_reduced=NATIVE_REDUCED,
        vocabulary=BERT_WORDS,
        modules=Modules("mean", normalize=normalize, max_seq_length=8192),
        dimensions=dimensions,
        max_tokens=2048,
        card_query="search_query: ",
    )


NOMIC = (
    _old("nomic-ai/nomic-embed-text-v1.5", normalize=False, dimensions=True),
    _old("nomic-ai/nomic-embed-text-v1", normalize=True, dimensions=False),
    # A copy that somebody saved again with the library: the same network, the library's words.
    Recipe(
        name="saved-again/nomic-embed-text-v1.5",
        config=NATIVE,
        reduced=NATIVE_REDUCED,
        vocabulary=BERT_WORDS,
        modules=Modules("mean", normalize=False, max_seq_length=8192),
        max_tokens=2048,
        card_query="search_query: ",
    ),
)
