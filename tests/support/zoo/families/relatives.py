"""Embedders and LLMs that the seed documents do not name and that users bring: one of each architecture."""

from tests.support.zoo.recipe import Modules, Recipe, published
from tests.support.zoo.tokenizers.vocabularies import (
    GEMMA_WORDS,
    LLAMA_WORDS,
    MISTRAL_WORDS,
    MODERNBERT_WORDS,
    MPNET_WORDS,
    QWEN3_EMBEDDING_WORDS,
    QWEN3_WORDS,
    T5_WORDS,
    XLM_ROBERTA_WORDS,
)

ENCODER = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 3}
GROUPED = {"hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 3}
GEMMA_PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}
GTE_QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "

RELATIVES = (
    Recipe(
        name="Alibaba-NLP/gte-modernbert-base",
        config=published("modernbert-base"),
        # A window of 16 tokens, so that texts reach beyond it, in two layers of three.
        reduced={**ENCODER, "intermediate_size": 96, "num_hidden_layers": 4, "local_attention": 16},
        vocabulary=MODERNBERT_WORDS,
        modules=Modules("cls", normalize=False, max_seq_length=8192),
        max_tokens=8192,
    ),
    Recipe(
        name="google/embeddinggemma-300m",
        config=published("embeddinggemma-300m"),
        reduced={
            "head_dim": 16,
            "hidden_size": 48,
            "intermediate_size": 72,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "num_hidden_layers": 3,
            "query_pre_attn_scalar": 16,
            "_sliding_window_pattern": 3,
        },
        vocabulary=GEMMA_WORDS,
        modules=Modules(
            "mean", normalize=True, max_seq_length=2048, prompts=GEMMA_PROMPTS, dense=((48, 192), (192, 48))
        ),
        max_tokens=2048,
    ),
    Recipe(
        name="sentence-transformers/all-mpnet-base-v2",
        config=published("all-mpnet-base-v2"),
        reduced=ENCODER,
        vocabulary=MPNET_WORDS,
        modules=Modules("mean", normalize=True, max_seq_length=384),
        # Its attention adds a bias by distance and is not a function that can be replaced.
        runs_as="padded",
        max_tokens=384,
    ),
    Recipe(
        name="intfloat/multilingual-e5-base",
        config=published("xlm-roberta-base"),
        reduced=ENCODER,
        vocabulary=XLM_ROBERTA_WORDS,
        modules=Modules("mean", normalize=True, max_seq_length=512),
    ),
    Recipe(
        name="intfloat/e5-mistral-7b-instruct",
        config=published("e5-mistral-7b-instruct"),
        reduced={**GROUPED, "num_attention_heads": 4, "num_key_value_heads": 1},
        vocabulary=MISTRAL_WORDS,
        modules=Modules("lasttoken", normalize=True, max_seq_length=4096),
        max_tokens=4096,
    ),
    Recipe(
        name="sentence-transformers/gtr-t5-base",
        config=published("gtr-t5-base"),
        reduced={"d_model": 48, "d_ff": 96, "d_kv": 12, "num_heads": 4, "num_layers": 3, "num_decoder_layers": 3},
        vocabulary=T5_WORDS,
        saved_as="T5EncoderModel",
        modules=Modules("mean", normalize=True, max_seq_length=512, dense=((48, 48),)),
        runs_as="sentence_transformers",
    ),
    # A decoder with bidirectional attention, by an entry of its config.json alone.
    Recipe(
        name="Alibaba-NLP/gte-Qwen2-1.5B-instruct",
        config=published("gte-qwen2-1.5b-instruct"),
        reduced={**GROUPED, "num_attention_heads": 6, "num_key_value_heads": 1, "hidden_size": 48},
        vocabulary=QWEN3_EMBEDDING_WORDS,
        modules=Modules("lasttoken", normalize=True, max_seq_length=32768, prompts={"query": GTE_QUERY}),
        max_tokens=32768,
    ),
    Recipe(
        name="Qwen/Qwen2.5-0.5B-Instruct",
        config=published("qwen2.5-0.5b-instruct"),
        reduced={**GROUPED, "num_attention_heads": 7, "num_key_value_heads": 1, "hidden_size": 56},
        vocabulary=QWEN3_WORDS,
        saved_as="AutoModelForCausalLM",
        kind="llm",
        max_tokens=32768,
    ),
    Recipe(
        name="meta-llama/Llama-3.2-1B-Instruct",
        config=published("llama-3.2-1b-instruct"),
        reduced={**GROUPED, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 8},
        vocabulary=LLAMA_WORDS,
        saved_as="AutoModelForCausalLM",
        kind="llm",
        max_tokens=131072,
    ),
)
