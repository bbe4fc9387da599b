"""Which classification heads are rerankers that can be served. No networks: config.json alone."""

from models.checkpoint import Checkpoint
from models.interface import ModelError

# sentence-transformers, CrossEncoder.get_default_activation_fn: what it does to the logit. Either keeps the order, and
# what we send is the sigmoid (docs/decisions.md).
ACTIVATIONS = ("Sigmoid", "Identity")
# The library's default when config.json says nothing (transformers: PreTrainedConfig.num_labels).
DEFAULT_LABELS = 2


def check_classifier(checkpoint: Checkpoint) -> None:
    """Refuse a head that does not say how relevant a document is by one number.

    Raises: ModelError: several labels, or an activation that is not known to keep the order.
    """
    if (labels := _labels(checkpoint)) != 1:
        raise ModelError(f"{checkpoint.path} cannot rerank: a reranker has one label, and it has: {labels}")
    if (activation := _activation(checkpoint)) not in (None, *ACTIVATIONS):
        raise ModelError(f"{checkpoint.path} scores with an activation that is not served: {activation}")


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
