"""How many tokens a text may have, by what the files of a checkpoint say. No torch."""

from models.checkpoint import Checkpoint
from models.interface import Kind, ModelError
from models.reading import whole_number

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
        raise ModelError(f"max_tokens is over what {checkpoint.path} allows, which is {min(limits)}: {asked}")
    return asked or min([*limits, trained] if trained else limits)


def _of_texts(checkpoint: Checkpoint) -> int:
    """The limit of an embedder's or cross-encoder's files, often below the network's own; 0 when they say none."""
    # Published folders have the first, sentence-transformers 6.2 writes the second.
    asked, tokenizer = checkpoint.first_part.get("max_seq_length"), checkpoint.tokenizer_config.get("model_max_length")
    return whole_number(asked or tokenizer, "max_seq_length", checkpoint.path / "sentence_bert_config.json")
