"""Decides which kind a checkpoint is, and says why: a `Qwen3ForCausalLM` may be any of the three."""

import logging
from collections.abc import Collection

from models.checkpoint.folder import Checkpoint
from models.checkpoint.sentence_transformers_files import (
    ONLY_IN_LIBRARY,
    POST_POOLING,
    check_modules,
    check_transformer_module,
)
from models.interface import Kind, ModelError

log = logging.getLogger("hearth.models")

FRAME_TOKENS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
CLASSIFIER_CLASS = "ForSequenceClassification"
# Kinds of sentence-transformers models that do not give one dense vector per text.
OTHER_VECTORS = ("SparseEncoder", "MultiVectorEncoder")
# What SPLADE models without modules.json are known by: their names, and files beside their weights.
SPLADE_NAMES = ("splade", "neural-sparse")
SPLADE_FILES = ("idf.json", "query_token_weights.txt")
MASKED_CLASS = "ForMaskedLM"
# The projection of token states in ColBERT's own files.
COLBERT_TENSOR = "linear.weight"
CROSS_ENCODER_MODULES = {"LogitScore", "CrossEncoder"}
EMBEDDER_MODULES = ("Transformer", "Pooling", *POST_POOLING, *ONLY_IN_LIBRARY)
RERANKER_MODULES = ("Transformer", "Dropout", *CROSS_ENCODER_MODULES)
ENCODERS = {
    *("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "nomic_bert", "modernbert", "distilbert", "electra"),
    *("albert", "deberta", "deberta-v2"),
}
# sentence-transformers, CrossEncoder.get_default_activation_fn: what a model's files may ask for. Both keep the order
# of the logits; Hearth sends the sigmoid for either (docs/decisions.md).
SCORE_ACTIVATIONS = ("Sigmoid", "Identity")
# The library's default if config.json does not say (transformers: PreTrainedConfig.num_labels).
DEFAULT_LABELS = 2


def decide_kind(checkpoint: Checkpoint, added_tokens: Collection[str], configured: Kind | None) -> tuple[Kind, str]:
    """Return the kind and the reason, by the first rule that matches; the log and GET /v1/models show both."""
    if configured is not None:
        return configured, "kind: in the configuration"
    if "Pooling" in checkpoint.modules and checkpoint.sentence_transformers.get("model_type") != "CrossEncoder":
        return "embedder", "modules.json has a Pooling module"
    if checkpoint.architecture.endswith(CLASSIFIER_CLASS):
        return "reranker", f"its class is {checkpoint.architecture}"
    if checkpoint.sentence_transformers.get("model_type") == "CrossEncoder":
        return "reranker", "config_sentence_transformers.json says CrossEncoder"
    if CROSS_ENCODER_MODULES & set(checkpoint.modules):
        return "reranker", "modules.json has a cross-encoder module"
    if checkpoint.model_type in ENCODERS:
        return "embedder", f"{checkpoint.model_type} is an encoder, and there is no modules.json"
    if _is_named_rerank(checkpoint) and has_frame(added_tokens):
        return "reranker", "a causal model with the chat tokens, and 'rerank' in its name"
    return "llm", "a causal model without modules.json and without 'rerank' in its name"


def check_supported(checkpoint: Checkpoint, kind: Kind, configured: Kind | None = None) -> None:
    """Refuse a checkpoint that no backend computes correctly.

    Args:
        checkpoint: the folder.
        kind: what it is taken for.
        configured: the kind that the operator gave, if any.
    Raises: ModelError.
    """
    check_transformer_module(checkpoint)
    check_modules(checkpoint, RERANKER_MODULES if kind == "reranker" else EMBEDDER_MODULES)
    if (library := checkpoint.sentence_transformers.get("model_type")) in OTHER_VECTORS:
        raise ModelError(
            f"{checkpoint.path} is a {library}; only models that give one dense vector per text are supported"
        )
    if kind == "embedder":
        _check_one_vector(checkpoint, configured)
    if is_classifier(checkpoint, kind):
        check_classifier(checkpoint)
    elif kind == "reranker" and not checkpoint.architecture.endswith(("ForCausalLM", "Model")):
        raise ModelError(f"{checkpoint.path} cannot rerank: its class {checkpoint.architecture} is not supported")


def _check_one_vector(checkpoint: Checkpoint, configured: Kind | None) -> None:
    """Refuse models whose files do not say that a vector per text is not what they were trained for.

    Raises: ModelError.
    """
    if "ColBERT" in checkpoint.architecture or COLBERT_TENSOR in checkpoint.tensors:
        raise ModelError(
            f"{checkpoint.path} is a ColBERT model, which gives a vector for each token of a text; only models that "
            "give one dense vector per text are supported"
        )
    if checkpoint.modules or configured or not checkpoint.architecture.endswith(MASKED_CLASS):
        return
    if any(name in names_of(checkpoint) for name in SPLADE_NAMES) or any(
        (checkpoint.path / name).exists() for name in SPLADE_FILES
    ):
        raise ModelError(
            f"{checkpoint.path} is a SPLADE model, which gives a weight for each token of the vocabulary; only models "
            "that give one dense vector per text are supported; if it was trained for these, set `kind: embedder`"
        )
    log.warning(
        "%s is a masked language model without modules.json: the vector of a text is the mean of its states, as in "
        "sentence-transformers; `kind: embedder` ends this warning",
        checkpoint.path,
    )


def names_of(checkpoint: Checkpoint) -> str:
    """The names that a folder has, in lower case: its own, and that of the model that it was made from."""
    return f"{checkpoint.path.name} {checkpoint.config.get('_name_or_path', '')}".lower()


def is_classifier(checkpoint: Checkpoint, kind: Kind) -> bool:
    """Whether a reranker's score is the logit of a classification head."""
    return kind == "reranker" and checkpoint.architecture.endswith(CLASSIFIER_CLASS)


def has_frame(added_tokens: Collection[str]) -> bool:
    """Whether the vocabulary has the control tokens of the Qwen3 reranker's prompt."""
    return all(token in added_tokens for token in FRAME_TOKENS)


def _is_named_rerank(checkpoint: Checkpoint) -> bool:
    return "rerank" in names_of(checkpoint)


def check_classifier(checkpoint: Checkpoint) -> None:
    """Refuse a classification head that does not give one relevance score.

    Raises: ModelError: the head has several labels, or an activation that may change the order of the scores.
    """
    if (labels := _labels(checkpoint)) != 1:
        raise ModelError(f"{checkpoint.path} cannot rerank: a reranker must have 1 label; it has {labels}")
    if (activation := _activation(checkpoint)) not in (None, *SCORE_ACTIVATIONS):
        raise ModelError(f"{checkpoint.path} uses a score activation that is not supported: {activation}")


def _labels(checkpoint: Checkpoint) -> int:
    names = checkpoint.config.get("id2label")
    return len(names) if isinstance(names, dict) and names else checkpoint.number("num_labels") or DEFAULT_LABELS


def _activation(checkpoint: Checkpoint) -> str | None:
    """The last part of the activation's name, from any of the three places that sentence-transformers has used."""
    inner = checkpoint.config.get("sentence_transformers")
    names = (
        checkpoint.sentence_transformers.get("activation_fn"),
        inner.get("activation_fn") if isinstance(inner, dict) else None,
        checkpoint.config.get("sbert_ce_default_activation_function"),
    )
    return next((str(name).rsplit(".", 1)[-1] for name in names if name), None)
