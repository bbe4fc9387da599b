"""Which kind a checkpoint is, and why. All three kinds may be `Qwen3ForCausalLM`, so it is decided and said."""

from collections.abc import Collection

from models.checkpoint.folder import Checkpoint
from models.checkpoint.quantization import check_quantised
from models.checkpoint.sentence_transformers_files import (
    ONLY_IN_LIBRARY,
    POST_POOLING,
    check_modules,
    check_transformer_module,
)
from models.interface import Kind, ModelError

# sentence-transformers, CrossEncoder.get_default_activation_fn: what it does to the logit. Either keeps the order, and
# what we send is the sigmoid (docs/decisions.md).
SCORE_ACTIVATIONS = ("Sigmoid", "Identity")
# The library's default when config.json says nothing (transformers: PreTrainedConfig.num_labels).
DEFAULT_LABELS = 2


def check_classifier(checkpoint: Checkpoint) -> None:
    """Refuse a head that does not say how relevant a document is by one number.

    Raises: ModelError: several labels, or an activation that is not known to keep the order.
    """
    if (labels := _labels(checkpoint)) != 1:
        raise ModelError(f"{checkpoint.path} cannot rerank: a reranker must have 1 label; it has {labels}")
    if (activation := _activation(checkpoint)) not in (None, *SCORE_ACTIVATIONS):
        raise ModelError(f"{checkpoint.path} scores with an activation that is not supported: {activation}")


def _labels(checkpoint: Checkpoint) -> int:
    names = checkpoint.config.get("id2label")
    return len(names) if isinstance(names, dict) and names else checkpoint.number("num_labels") or DEFAULT_LABELS


def _activation(checkpoint: Checkpoint) -> str | None:
    """The last part of the activation's name, in any of the places where sentence-transformers has written it."""
    inner = checkpoint.config.get("sentence_transformers")
    names = (
        checkpoint.sentence_transformers.get("activation_fn"),
        inner.get("activation_fn") if isinstance(inner, dict) else None,
        checkpoint.config.get("sbert_ce_default_activation_function"),
    )
    return next((str(name).rsplit(".", 1)[-1] for name in names if name), None)


FRAME_TOKENS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
CLASSIFIER_CLASS = "ForSequenceClassification"
# sentence-transformers' kinds of model beside SentenceTransformer and CrossEncoder.
OTHER_VECTORS = ("SparseEncoder", "MultiVectorEncoder")
CROSS_ENCODER_MODULES = {"LogitScore", "CrossEncoder"}
EMBEDDER_MODULES = ("Transformer", "Pooling", *POST_POOLING, *ONLY_IN_LIBRARY)
RERANKER_MODULES = ("Transformer", "Dropout", *CROSS_ENCODER_MODULES)
ENCODERS = {
    *("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "nomic_bert", "modernbert", "distilbert", "electra"),
    *("albert", "deberta", "deberta-v2"),
}


def decide_kind(checkpoint: Checkpoint, added_tokens: Collection[str], asked: Kind | None) -> tuple[Kind, str]:
    """The kind and the reason, by the first rule that holds (shown in the log and in GET /v1/models)."""
    if asked is not None:
        return asked, "kind: in the configuration"
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


def check_served(checkpoint: Checkpoint, kind: Kind) -> None:
    """Refuse what no backend of this version can run right."""
    check_transformer_module(checkpoint)
    check_modules(checkpoint, RERANKER_MODULES if kind == "reranker" else EMBEDDER_MODULES)
    if (library := checkpoint.sentence_transformers.get("model_type")) in OTHER_VECTORS:
        raise ModelError(
            f"{checkpoint.path} is a {library}; only models that give one dense vector per text are supported"
        )
    check_quantised(checkpoint)
    if is_classifier(checkpoint, kind):
        check_classifier(checkpoint)
    elif kind == "reranker" and not checkpoint.architecture.endswith(("ForCausalLM", "Model")):
        raise ModelError(f"{checkpoint.path} cannot rerank: its class {checkpoint.architecture} is not supported")


def is_classifier(checkpoint: Checkpoint, kind: Kind) -> bool:
    """Whether a reranker's score is the logit of a classification head."""
    return kind == "reranker" and checkpoint.architecture.endswith(CLASSIFIER_CLASS)


def has_frame(added_tokens: Collection[str]) -> bool:
    """Whether the vocabulary has the control tokens of the Qwen3 reranker's prompt."""
    return all(token in added_tokens for token in FRAME_TOKENS)


def _is_named_rerank(checkpoint: Checkpoint) -> bool:
    names = f"{checkpoint.path.name} {checkpoint.config.get('_name_or_path', '')}"
    return "rerank" in names.lower()
