"""Which kind a checkpoint is, and why. All three kinds may be `Qwen3ForCausalLM`, so it is decided and said."""

from models.checkpoint import Checkpoint
from models.classifiers import check_classifier
from models.first_part import check_first_part
from models.interface import Kind, ModelError
from models.modules import ONLY_IN_LIBRARY, TAIL, check_modules
from models.quantised import check_quantised
from models.tokenizer import Tokenizer

FRAME_TOKENS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
CLASSIFIER = "ForSequenceClassification"
# sentence-transformers' kinds of model beside SentenceTransformer and CrossEncoder.
OTHER_VECTORS = ("SparseEncoder", "MultiVectorEncoder")
CROSS_ENCODER_MODULES = {"LogitScore", "CrossEncoder"}
EMBEDDER_MODULES = ("Transformer", "Pooling", *TAIL, *ONLY_IN_LIBRARY)
RERANKER_MODULES = ("Transformer", "Dropout", *CROSS_ENCODER_MODULES)
ENCODERS = {
    *("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "nomic_bert", "modernbert", "distilbert", "electra"),
    *("albert", "deberta", "deberta-v2"),
}


def decide_kind(checkpoint: Checkpoint, tokenizer: Tokenizer, asked: Kind | None) -> tuple[Kind, str]:
    """The kind and the reason, by the first rule that holds (shown in the log and in GET /v1/models)."""
    if asked is not None:
        return asked, "kind: in the configuration"
    if "Pooling" in checkpoint.modules and checkpoint.sentence_transformers.get("model_type") != "CrossEncoder":
        return "embedder", "modules.json has a Pooling module"
    if checkpoint.architecture.endswith(CLASSIFIER):
        return "reranker", f"its class is {checkpoint.architecture}"
    if checkpoint.sentence_transformers.get("model_type") == "CrossEncoder":
        return "reranker", "config_sentence_transformers.json says CrossEncoder"
    if CROSS_ENCODER_MODULES & set(checkpoint.modules):
        return "reranker", "modules.json has a cross-encoder module"
    if checkpoint.model_type in ENCODERS:
        return "embedder", f"{checkpoint.model_type} is an encoder, and there is no modules.json"
    if _is_named_rerank(checkpoint) and has_frame(tokenizer):
        return "reranker", "a causal model with the chat tokens, and 'rerank' in its name"
    return "llm", "a causal model without modules.json and without 'rerank' in its name"


def check_served(checkpoint: Checkpoint, kind: Kind) -> None:
    """Refuse what no backend of this version can run right."""
    check_first_part(checkpoint)
    check_modules(checkpoint, RERANKER_MODULES if kind == "reranker" else EMBEDDER_MODULES)
    if (library := checkpoint.sentence_transformers.get("model_type")) in OTHER_VECTORS:
        raise ModelError(f"{checkpoint.path} gives other than one dense vector a text, which is not served: {library}")
    check_quantised(checkpoint)
    if is_classifier(checkpoint, kind):
        check_classifier(checkpoint)
    elif kind == "reranker" and not checkpoint.architecture.endswith(("ForCausalLM", "Model")):
        raise ModelError(f"{checkpoint.path} is no reranker that can be served: {checkpoint.architecture}")


def is_classifier(checkpoint: Checkpoint, kind: Kind) -> bool:
    """Whether a reranker's score is the logit of a classification head."""
    return kind == "reranker" and checkpoint.architecture.endswith(CLASSIFIER)


def has_frame(tokenizer: Tokenizer) -> bool:
    """Whether the vocabulary has the control tokens of the Qwen3 reranker's prompt."""
    return all(token in tokenizer.added for token in FRAME_TOKENS)


def _is_named_rerank(checkpoint: Checkpoint) -> bool:
    names = f"{checkpoint.path.name} {checkpoint.config.get('_name_or_path', '')}"
    return "rerank" in names.lower()
