"""Qwen3-Embedding and Qwen3-Reranker in their three sizes. Source: the repositories' own files."""

from tests.support.checkpoints.qwen3 import CONFIG
from tests.support.zoo.recipe import JsonObject, Modules, Recipe
from tests.support.zoo.tokenizers.vocabularies import QWEN3_EMBEDDING_WORDS, QWEN3_WORDS

SIZES: dict[str, JsonObject] = {
    "0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16, "num_hidden_layers": 28},
    "4B": {"hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32, "num_hidden_layers": 36},
    "8B": {"hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32, "num_hidden_layers": 36},
}
# Heads and hidden state in the published proportions: 2, 1.6 and 1 times as wide together.
REDUCED: dict[str, JsonObject] = {
    "0.6B": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 192},
    "4B": {"hidden_size": 80, "num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 304},
    "8B": {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 384},
}
TASK = "Given a web search query, retrieve relevant passages that answer the query"
PROMPTS = {"query": f"Instruct: {TASK}\nQuery:", "document": ""}
EMBEDDING_ROWS = {"0.6B": 151669, "4B": 151665, "8B": 151665}


def _config(size: str, **entries: object) -> JsonObject:
    heads = {"head_dim": 128, "num_key_value_heads": 8, "max_window_layers": SIZES[size]["num_hidden_layers"]}
    ids = {"bos_token_id": 151643, "eos_token_id": 151643, "torch_dtype": "bfloat16"}
    return {**CONFIG, **SIZES[size], **heads, **ids, **entries}


def _embedder(size: str) -> Recipe:
    positions = 32768 if size == "0.6B" else 40960
    return Recipe(
        name=f"Qwen/Qwen3-Embedding-{size}",
        seed_name=f"fireworks/qwen3-embedding-{size.lower().replace('.', 'p')}",
        config=_config(size, max_position_embeddings=positions, vocab_size=EMBEDDING_ROWS[size]),
        reduced={**REDUCED[size], "head_dim": 32, "num_hidden_layers": 2, "max_window_layers": 2},
        vocabulary=QWEN3_EMBEDDING_WORDS,
        modules=Modules("lasttoken", normalize=True, prompts=PROMPTS),
        runs_as="packed",
        max_tokens=positions,
    )


def _reranker(size: str) -> Recipe:
    tied = size != "8B"
    return Recipe(
        name=f"Qwen/Qwen3-Reranker-{size}",
        seed_name=f"fireworks/qwen3-reranker-{size.lower().replace('.', 'p')}",
        config=_config(size, max_position_embeddings=40960, vocab_size=151669, tie_word_embeddings=tied),
        reduced={**REDUCED[size], "head_dim": 32, "num_hidden_layers": 2, "max_window_layers": 2},
        vocabulary=QWEN3_WORDS,
        saved_as="AutoModelForCausalLM",
        kind="reranker",
        runs_as="packed",
        max_tokens=40960,
    )


QWEN3 = (*(_embedder(size) for size in SIZES), *(_reranker(size) for size in SIZES))
