"""Reads a model's widths, limits, pooling and head from the files of its checkpoint. No torch, no tokenizer."""

from models.checkpoint.files import whole_number
from models.checkpoint.folder import Checkpoint
from models.checkpoint.hub import model_id
from models.checkpoint.kind import ENCODERS, is_classifier
from models.checkpoint.published_models import PublishedModel, find_published
from models.checkpoint.sentence_transformers_files import POOLINGS, pooling_names, why_library_modules, width_of
from models.interface import Kind, LoadOptions, ModelError, ModelInfo, Pooling

# Their position ids start after the id of the padding token (transformers: create_position_ids_from_input_ids).
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet"}
LENGTH_ENTRIES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")

Names = tuple[str, ...]


def max_tokens(checkpoint: Checkpoint, kind: Kind, configured: int | None) -> int:
    """The configured limit, or the lowest limit in the files.

    Raises: ModelError: the files give no limit, or the configured one is above it.
    """
    network = _positions(checkpoint)
    if checkpoint.model_type in OFFSET_POSITIONS:
        network -= checkpoint.number("pad_token_id") + 1
    # nomic-embed-text has more positions than it was trained on: they are used only if configured.
    trained = checkpoint.number("max_trained_positions")
    # The tokenizer of a language model limits the length of a chat, not the network's input.
    files = None if kind == "llm" else _text_limit(checkpoint)
    limits = [limit for limit in (files, network) if limit]
    if not limits:
        raise ModelError(f"{checkpoint.path}/config.json must give the longest input; missing: max_position_embeddings")
    if configured is not None and configured > min(limits):
        raise ModelError(f"max_tokens of {checkpoint.path} must be at most {min(limits)}; got {configured}")
    return configured or min([*limits, trained] if trained else limits)


def _positions(checkpoint: Checkpoint) -> int:
    """How many positions the network has; 0 if config.json does not say."""
    positions = next((checkpoint.number(name) for name in LENGTH_ENTRIES if checkpoint.number(name)), 0)
    for key in ("rope_scaling", "rope_parameters"):
        rope = checkpoint.config.get(key)
        if isinstance(rope, dict) and "yarn" in (rope.get("rope_type"), rope.get("type")):
            # Qwen3's model card adds YaRN to config.json and leaves max_position_embeddings as it was.
            original, factor = rope.get("original_max_position_embeddings") or positions, rope.get("factor")
            if isinstance(original, int | float) and isinstance(factor, int | float):
                return int(original * factor)
    return positions


def _text_limit(checkpoint: Checkpoint) -> int:
    """The limit in the files of an embedder or cross-encoder, often below the network's own; 0 if they give none."""
    # Older folders have the first; sentence-transformers 6.2 writes the second.
    module_limit = checkpoint.transformer_module_config.get("max_seq_length")
    tokenizer_limit = checkpoint.tokenizer_config.get("model_max_length")
    file = checkpoint.path / "sentence_bert_config.json"
    return whole_number(module_limit or tokenizer_limit, "max_seq_length", file)


def read_info(checkpoint: Checkpoint, options: LoadOptions, kind: Kind, reason: str, names: Names = ()) -> ModelInfo:
    """Read what the files say about the model. Facts about published models are looked up by `names` too."""
    rows, table_width = checkpoint.table
    # The token tables of ALBERT and small ELECTRA are narrower than their hidden states.
    hidden = checkpoint.number("hidden_size") or table_width
    published = published_model(checkpoint, names)
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
        library_modules=_library_modules(checkpoint, kind),
        matryoshka=published.matryoshka if options.matryoshka is None else options.matryoshka,
        layer_norm_before_dimensions=published.layer_norm_before_dimensions,
        classifier=is_classifier(checkpoint, kind),
        quantization=checkpoint.plan.method if checkpoint.plan else "",
    )


def _library_modules(checkpoint: Checkpoint, kind: Kind) -> str | None:
    reason = why_library_modules(checkpoint) if checkpoint.modules or kind == "embedder" else None
    if kind == "llm" and reason:
        raise ModelError(f"{checkpoint.path} is an embedder ({reason}); set `kind: embedder`, or remove `kind`")
    return reason if kind == "embedder" else None


def published_model(checkpoint: Checkpoint, names: Names) -> PublishedModel:
    """What is known about the model under any of `names` or of the names that its files give."""
    return find_published((*names, model_id(str(checkpoint.path)), str(checkpoint.config.get("_name_or_path", ""))))


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
    # Without this check, a missing head would score every pair 0.5 (vllm#27857).
    raise ModelError(f"{checkpoint.path} says tie_word_embeddings: false, but its weights have no lm_head.weight")


def _pooling(checkpoint: Checkpoint) -> Pooling:
    names = pooling_names(checkpoint)
    if names:
        return POOLINGS[names[0]] or "mean"
    return "mean" if checkpoint.model_type in ENCODERS else "lasttoken"
