"""Which checkpoints our own BERT runs: a closed list of the entries of config.json and of the tensors. No torch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from models.checkpoint.folder import Checkpoint
from models.checkpoint.formats.registry import QUANTIZATION_ENTRIES
from models.interface import ModelError
from models.networks.bookkeeping import BOOKKEEPING, SWITCHED_OFF
from models.networks.entries import check_own_code, check_unread
from models.networks.surplus import say_surplus, surplus

# An embedder has no head that could be tied to its token table. The reader of weights knows how they are quantised.
_IGNORED_KEYS = BOOKKEEPING | {"tie_word_embeddings", *QUANTIZATION_ENTRIES}
_SIZES = (
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size"),
    *("max_position_embeddings", "type_vocab_size"),
)
_VALUES: Mapping[str, tuple[object, ...]] = SWITCHED_OFF | {
    "model_type": ("bert",),
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute", None),
    "is_causal": (False, None),
}
BERT_ENTRIES = frozenset((*_IGNORED_KEYS, *_SIZES, *_VALUES, "layer_norm_eps"))
LAYER = tuple(
    f"{part}.{kind}"
    for part in (
        *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
        *("attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"),
    )
    for kind in ("weight", "bias")
)
EMBEDDINGS = (
    *("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"),
    *("embeddings.token_type_embeddings.weight", "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"),
)


@dataclass(frozen=True, slots=True)
class BertConfig:
    """Sizes of a BERT network, under the names of config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float


def read_bert_config(checkpoint: Checkpoint) -> BertConfig:
    """Take a checkpoint that our BERT computes exactly.

    Raises: ModelError: another model_type, or an entry of config.json or a tensor that is missing or unknown.
    """
    config = checkpoint.config
    if checkpoint.model_type != "bert":
        raise ModelError(f"Hearth's BERT does not support the model_type {checkpoint.model_type!r}")
    check_own_code(checkpoint)
    check_unread(config, BERT_ENTRIES, "Hearth's BERT")
    for key in _VALUES.keys() & config.keys():
        if config[key] not in _VALUES[key]:
            raise ModelError(f"Hearth's BERT does not support this entry of config.json: {key}: {config[key]!r}")
    sizes = {key: _size(config, key) for key in _SIZES}
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        raise ModelError("hidden_size of config.json must be a multiple of num_attention_heads")
    _check_tensors(checkpoint.tensors, sizes["num_hidden_layers"])
    return BertConfig(**sizes, layer_norm_eps=float(config.get("layer_norm_eps", 1e-12)))


def why_not_own_bert(checkpoint: Checkpoint) -> str | None:
    """The reason why our BERT does not run this checkpoint; None if it computes it exactly."""
    try:
        read_bert_config(checkpoint)
    except ModelError as error:
        return str(error)
    return None


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{key} of config.json must be a positive whole number; got {value!r}")
    return value


def _check_tensors(stored: Collection[str], layers: int) -> None:
    needed = {*EMBEDDINGS, *(f"encoder.layer.{number}.{name}" for number in range(layers) for name in LAYER)}
    if missing := sorted(needed - set(stored)):
        raise ModelError(f"Hearth's BERT needs a tensor that the weights lack: {missing[0]}")
    if names := surplus(set(stored) - needed):
        clause = say_surplus("Hearth's BERT", names)
        raise ModelError(f"the checkpoint {clause}")
