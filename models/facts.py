"""What the files of a checkpoint say of widths, limits, pooling and head. No torch, no tokenizer."""

from models.checkpoint import Checkpoint
from models.interface import Kind, LoadOptions, ModelError, ModelInfo, Pooling
from models.kinds import ENCODERS, is_classifier
from models.known import Known, known_of
from models.limits import max_tokens
from models.modules import POOLINGS, pooling_names, why_library_modules, width_of
from models.sources import model_id

Names = tuple[str, ...]


def read_info(checkpoint: Checkpoint, options: LoadOptions, kind: Kind, reason: str, names: Names = ()) -> ModelInfo:
    """What the files say of widths, limits, pooling and head; `names` is what others call the model."""
    rows, table_width = checkpoint.table
    # ALBERT and small ELECTRA look up rows that are narrower than their states.
    hidden = checkpoint.number("hidden_size") or table_width
    known = known_facts(checkpoint, names)
    return ModelInfo(
        path=str(checkpoint.path),
        kind=kind,
        kind_reason=reason,
        architecture=checkpoint.architecture,
        model_type=checkpoint.model_type,
        width=width_of(checkpoint, hidden),
        max_tokens=max_tokens(checkpoint, kind, options.max_tokens),
        table_rows=rows,
        head_rows=_head_rows(checkpoint, kind),
        pooling=_pooling(checkpoint),
        library_modules=why_library_modules(checkpoint) if kind == "embedder" else None,
        matryoshka=known.matryoshka if options.matryoshka is None else options.matryoshka,
        layer_norm_before_dimensions=known.layer_norm_before_dimensions,
        classifier=is_classifier(checkpoint, kind),
    )


def known_facts(checkpoint: Checkpoint, names: Names) -> Known:
    """What is known of a model under any of its names, those that its files give it included."""
    return known_of((*names, model_id(str(checkpoint.path)), str(checkpoint.config.get("_name_or_path", ""))))


def _head_rows(checkpoint: Checkpoint, kind: Kind) -> int:
    if kind == "embedder" or is_classifier(checkpoint, kind):
        return 0
    head = checkpoint.tensors.get("lm_head.weight")
    if head is not None:
        return head[0]
    if checkpoint.tied:
        return checkpoint.table[0]
    if kind == "llm":
        return 0
    # An untied head that was not loaded gave 0.5 for every pair (vllm#27857).
    raise ModelError(f"{checkpoint.path} says tie_word_embeddings: false, and its weights lack: lm_head.weight")


def _pooling(checkpoint: Checkpoint) -> Pooling:
    names = pooling_names(checkpoint)
    if names:
        return POOLINGS[names[0]] or "mean"
    return "mean" if checkpoint.model_type in ENCODERS else "lasttoken"
