"""The parts that a checkpoint lists in modules.json, as sentence-transformers would run them. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from models.checkpoint.folder import Checkpoint
from models.interface import ModelError, Pooling

LIBRARY = "sentence_transformers."
# Parts behind the pooling that models.tail computes, and the first and last ones that need no computing.
POST_POOLING = ("Dense", "LayerNorm", "Normalize", "Dropout")
# What else the library's own modules do with the ids that we give them.
ONLY_IN_LIBRARY = ("WeightedLayerPooling", "WordWeights")
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
# The network that the library loads for these is not the one of AutoModel.
ENCODER_HALVES = ("t5", "mt5")
# sentence-transformers, Pooling: the order in which several are joined.
POOLINGS: dict[str, Pooling | None] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": None,
    "weightedmean": None,
    "lasttoken": "lasttoken",
}
LEGACY_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class Module:
    """One module behind the pooling: its name, its folder and its config.json."""

    name: str
    path: str
    config: dict[str, Any] = field(default_factory=dict)


def post_pooling_modules(checkpoint: Checkpoint) -> list[Module]:
    """What is computed of a vector after the pooling. The last Normalize is left to whoever asks for unit vectors."""
    parts = [part for part in modules_of(checkpoint) if part.name in POST_POOLING and part.name != "Dropout"]
    while parts and parts[-1].name == "Normalize":
        parts.pop()
    return parts


def modules_of(checkpoint: Checkpoint) -> list[Module]:
    """Every part with its own configuration, in order."""
    return [Module(name, path, checkpoint.config_of(path)) for name, path in checkpoint.module_paths]


def width_of(checkpoint: Checkpoint, hidden: int) -> int:
    """The length of the vectors, where the network's states are `hidden` wide."""
    width = hidden
    for part in modules_of(checkpoint):
        if part.name == "Pooling":
            width *= len(pooling_names(checkpoint))
        elif part.name == "Dense":
            width = size_of(part, "out_features")
    return width


def size_of(part: Module, key: str) -> int:
    """A size out of a part's own configuration.

    Raises: ModelError: it is not there.
    """
    value = part.config.get(key)
    if not isinstance(value, int) or value < 1:
        raise ModelError(f"{part.path}/config.json must give a positive whole number for {key}; got {value!r}")
    return value


def pooling_names(checkpoint: Checkpoint) -> list[str]:
    """How the states of a text become one vector, in the library's names; several are joined end to end.

    Raises: ModelError: a way that the library does not know.
    """
    config = checkpoint.pooling
    asked = config.get("pooling_mode") or [LEGACY_KEYS.get(key, key) for key in config if _is_chosen(config, key)]
    names = [str(name) for name in (asked if isinstance(asked, list) else [asked])]
    if unknown := [name for name in names if name not in POOLINGS]:
        raise ModelError(f"{checkpoint.path} pools in a way that is not supported: {', '.join(unknown)}")
    # Pooling.load_config: a file that chooses none means the mean.
    return names or (["mean"] if config else [])


def why_library_modules(checkpoint: Checkpoint) -> str | None:
    """Why only the library's own modules run this embedder right, or None if the first two ways do too."""
    if checkpoint.model_type in ENCODER_HALVES:
        return f"sentence-transformers takes one half of the network: {checkpoint.model_type}"
    names = pooling_names(checkpoint)
    if len(names) > 1 or any(POOLINGS[name] is None for name in names):
        return f"there is no pooling of ours for: {', '.join(names)}"
    if other := [part.name for part in modules_of(checkpoint) if part.name in ONLY_IN_LIBRARY]:
        return f"there is no module of ours for: {', '.join(other)}"
    odd = [part.name for part in modules_of(checkpoint) if part.name in POST_POOLING and not is_vector_to_vector(part)]
    return f"there is nothing of ours for a part with such settings: {', '.join(odd)}" if odd else None


def is_vector_to_vector(part: Module) -> bool:
    """Whether a part goes from vector to vector; a Dense by a linear layer and an activation of the list."""
    keys = (part.config.get("module_input_name"), part.config.get("module_output_name"))
    if not all(key in (None, "sentence_embedding") for key in keys):
        return False
    return part.name != "Dense" or (not part.config.get("use_residual") and activation_of(part) in ACTIVATIONS)


def activation_of(part: Module) -> str:
    """The name of a Dense's activation in torch.nn; the whole path where it comes from elsewhere."""
    path = str(part.config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    return path.rsplit(".", 1)[-1] if path.startswith("torch.nn.") else path


def check_modules(checkpoint: Checkpoint, served: Sequence[str]) -> None:
    """Refuse parts that nobody here runs: a projection that is left out gives vectors that look right and are not.

    Raises: ModelError: names them.
    """
    if foreign := [kind for kind in checkpoint.module_types if not kind.startswith(LIBRARY)]:
        raise ModelError(f"{checkpoint.path} needs code of its own, and no remote code is run: {', '.join(foreign)}")
    if unknown := [name for name, _ in checkpoint.module_paths if name not in served]:
        raise ModelError(f"{checkpoint.path}/modules.json has a part that is not supported: {', '.join(unknown)}")
    # The library takes Tanh in place of an activation that it does not trust, with a line in its log.
    activations = [activation_of(part) for part in modules_of(checkpoint) if part.name == "Dense"]
    if untrusted := [name for name in activations if "." in name]:
        raise ModelError(f"{checkpoint.path} needs code of its own, and no remote code is run: {', '.join(untrusted)}")


def _is_chosen(config: dict[str, Any], key: str) -> bool:
    return key.startswith("pooling_mode_") and bool(config[key])


# sentence-transformers 6.2, Transformer: what the network is asked for by task, when texts come in.
OUTPUTS = {
    "feature-extraction": "last_hidden_state",
    "sequence-classification": "logits",
    "text-generation": "logits",
}
# Entries that change neither the tokens of a text nor what is read from the network.
ENTRIES_WITHOUT_EFFECT = (
    *("max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name", "unpad_inputs"),
    *("model_args", "model_kwargs", "config_args", "config_kwargs"),
    *("query_length", "document_length"),  # of models with many vectors a text
)


def asks_lower_case(checkpoint: Checkpoint) -> bool:
    """Whether texts are put into lower case before they are split into tokens."""
    return bool(checkpoint.transformer_module_config.get("do_lower_case"))


def check_transformer_module(checkpoint: Checkpoint) -> None:
    """Refuse entries that would change tokens or states, and that nobody here reads.

    Raises: ModelError: names them.
    """
    config = checkpoint.transformer_module_config
    unknown = [
        key
        for key, value in config.items()
        if key not in ENTRIES_WITHOUT_EFFECT and value and not _is_harmless(key, value)
    ]
    if unknown:
        raise ModelError(f"{checkpoint.path}/sentence_bert_config.json has entries not supported: {', '.join(unknown)}")
    task = str(config.get("transformer_task", "feature-extraction"))
    modalities = config.get("modality_config")
    if modalities is None:
        return
    modalities = modalities if isinstance(modalities, dict) else {}
    text = modalities.get("text")
    if "message" in modalities and task != "text-generation":
        raise ModelError(f"{checkpoint.path} puts texts into a chat before they are embedded, which is not supported")
    if task not in OUTPUTS or text != {"method": "forward", "method_output_name": OUTPUTS[task]}:
        raise ModelError(f"{checkpoint.path} reads its network in a way that is not supported: {task}, {text}")


def _is_harmless(key: str, value: Any) -> bool:
    # A chat template is rendered by us, or not at all; what a tokenizer is told beside its file may change tokens.
    asked = value.items() if key == "processing_kwargs" and isinstance(value, dict) else [("", None)]
    return all(name == "chat_template" and isinstance(settings, dict) for name, settings in asked)
