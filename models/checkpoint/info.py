"""What the files of a checkpoint say of widths, limits, pooling and head. No torch, no tokenizer."""

from models.checkpoint.files import whole_number
from models.checkpoint.folder import Checkpoint
from models.checkpoint.hub import model_id
from models.checkpoint.kind import ENCODERS, is_classifier
from models.checkpoint.published_models import PublishedModel, known_of
from models.checkpoint.sentence_transformers_files import POOLINGS, pooling_names, why_library_modules, width_of
from models.interface import Kind, LoadOptions, ModelError, ModelInfo, Pooling

# Their positions begin behind the padding token's id (transformers: create_position_ids_from_input_ids).
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet"}
LENGTH_ENTRIES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def max_tokens(checkpoint: Checkpoint, kind: Kind, asked: int | None) -> int:
    """The limit that was asked for, or the lowest of those in the files.

    Raises: ModelError: there is none, or more was asked for than the network has.
    """
    network = next((checkpoint.number(name) for name in LENGTH_ENTRIES if checkpoint.number(name)), 0)
    if checkpoint.model_type in OFFSET_POSITIONS:
        network -= checkpoint.number("pad_token_id") + 1
    # nomic-embed-text has positions for more tokens than it was trained on: more must be asked for.
    trained = checkpoint.number("max_trained_positions")
    # A language model's tokenizer says how long a chat may be, not what its network takes.
    files = None if kind == "llm" else _of_texts(checkpoint)
    limits = [limit for limit in (files, network) if limit]
    if not limits:
        raise ModelError(f"{checkpoint.path}/config.json does not say how long a text may be: max_position_embeddings")
    if asked is not None and asked > min(limits):
        raise ModelError(f"max_tokens of {checkpoint.path} must be at most {min(limits)}; got {asked}")
    return asked or min([*limits, trained] if trained else limits)


def _of_texts(checkpoint: Checkpoint) -> int:
    """The limit of an embedder's or cross-encoder's files, often below the network's own; 0 when they say none."""
    # Published folders have the first, sentence-transformers 6.2 writes the second.
    asked, tokenizer = (
        checkpoint.transformer_module_config.get("max_seq_length"),
        checkpoint.tokenizer_config.get("model_max_length"),
    )
    return whole_number(asked or tokenizer, "max_seq_length", checkpoint.path / "sentence_bert_config.json")


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


def known_facts(checkpoint: Checkpoint, names: Names) -> PublishedModel:
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
    raise ModelError(f"{checkpoint.path} says tie_word_embeddings: false, but its weights have no lm_head.weight")


def _pooling(checkpoint: Checkpoint) -> Pooling:
    names = pooling_names(checkpoint)
    if names:
        return POOLINGS[names[0]] or "mean"
    return "mean" if checkpoint.model_type in ENCODERS else "lasttoken"
