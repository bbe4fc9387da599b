"""Rerankers with a classification head: pairs of texts in, one number out."""

from tests.support.zoo.families.qwen3 import QWEN3
from tests.support.zoo.families.relatives import ENCODER
from tests.support.zoo.recipe import JsonObject, Recipe, RunsAs, published
from tests.support.zoo.tokenizers.vocabularies import (
    BERT_WORDS,
    BGE_M3_WORDS,
    DEBERTA_WORDS,
    MODERNBERT_WORDS,
    QWEN3_WORDS,
    Vocabulary,
)

LABEL: JsonObject = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
XLM_ROBERTA_LARGE: JsonObject = {
    **published("xlm-roberta-base"),
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "max_position_embeddings": 8194,
}
MINILM: JsonObject = {
    **published("bert-base-uncased"),
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "4.0.1"},
}
# DeBERTa's attention is not a function that can be replaced.
RUNS_AS: dict[str, RunsAs] = {"Qwen3": "packed", "DebertaV2": "padded"}
QWEN3_SMALL = next(recipe for recipe in QWEN3 if recipe.name == "Qwen/Qwen3-Reranker-0.6B")


def _reranker(name: str, config: JsonObject, reduced: JsonObject, vocabulary: Vocabulary, max_tokens: int) -> Recipe:
    family = str(config["architectures"][0]).removesuffix("Model").removesuffix("ForSequenceClassification")
    return Recipe(
        name=name,
        config={**config, "architectures": [f"{family}ForSequenceClassification"], **LABEL},
        reduced=reduced,
        vocabulary=vocabulary,
        saved_as="AutoModelForSequenceClassification",
        kind="reranker",
        runs_as=RUNS_AS.get(family, "unpadded"),
        max_tokens=max_tokens,
    )


RERANKERS = (
    _reranker("BAAI/bge-reranker-v2-m3", XLM_ROBERTA_LARGE, ENCODER, BGE_M3_WORDS, 8192),
    _reranker("cross-encoder/ms-marco-MiniLM-L6-v2", MINILM, ENCODER, BERT_WORDS, 512),
    _reranker(
        "mixedbread-ai/mxbai-rerank-base-v1",
        published("mxbai-rerank-base-v1"),
        {**ENCODER, "pooler_hidden_size": 64, "position_buckets": 16},
        DEBERTA_WORDS,
        512,
    ),
    _reranker(
        "Alibaba-NLP/gte-reranker-modernbert-base",
        published("modernbert-base"),
        {**ENCODER, "intermediate_size": 96, "num_hidden_layers": 4, "local_attention": 16},
        MODERNBERT_WORDS,
        8192,
    ),
    _reranker(
        "tomaarsen/Qwen3-Reranker-0.6B-seq-cls",
        {**QWEN3_SMALL.config, "architectures": ["Qwen3ForSequenceClassification"], "pad_token_id": 151643},
        QWEN3_SMALL.reduced,
        QWEN3_WORDS,
        40960,
    ),
)
