"""Reads the modules that modules.json lists, as sentence-transformers does. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from models.checkpoint.files import PICKLES, WEIGHTS, JsonObject
from models.checkpoint.folder import Checkpoint
from models.interface import ModelError, Pooling

LIBRARY = "sentence_transformers."
# Modules after the pooling that Hearth computes itself (models/layers/pooler.py). Dropout does nothing at inference.
POST_POOLING = ("Dense", "LayerNorm", "Normalize", "Dropout")
# Modules that only sentence-transformers' own code runs.
ONLY_IN_LIBRARY = ("WeightedLayerPooling", "WordWeights")
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
# For these the library loads the encoder half of the network; AutoModel loads both halves.
ENCODER_HALVES = ("t5", "mt5")
# sentence-transformers, Pooling: its names in the order in which several vectors are joined; None: not supported here.
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

# sentence-transformers 6.2, Transformer: the network's output for each task, for text input.
OUTPUTS = {
    "feature-extraction": "last_hidden_state",
    "sequence-classification": "logits",
    "text-generation": "logits",
}
# Entries that change neither the tokens of a text nor what is read from the network.
ENTRIES_WITHOUT_EFFECT = (
    *("max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name", "unpad_inputs"),
    *("model_args", "model_kwargs", "config_args", "config_kwargs"),
    *("query_length", "document_length"),  # of models that give many vectors per text
)


@dataclass(frozen=True, slots=True)
class Module:
    """One module of modules.json: its short class name, its folder and its config.json."""

    name: str
    path: str
    config: JsonObject = field(default_factory=dict)


def post_pooling_modules(checkpoint: Checkpoint) -> list[Module]:
    """The modules to run on pooled vectors. A final Normalize is left out: requests choose whether to normalise."""
    modules = [module for module in modules_of(checkpoint) if module.name in POST_POOLING and module.name != "Dropout"]
    while modules and modules[-1].name == "Normalize":
        modules.pop()
    return modules


def modules_of(checkpoint: Checkpoint) -> list[Module]:
    """All modules with their configurations, in order."""
    return [Module(name, path, checkpoint.config_of(path)) for name, path in checkpoint.module_paths]


def width_of(checkpoint: Checkpoint, hidden: int) -> int:
    """The length of the vectors of a network whose states have `hidden` numbers."""
    width = hidden
    for module in modules_of(checkpoint):
        if module.name == "Pooling":
            width *= len(pooling_names(checkpoint))
        elif module.name == "Dense":
            width = size_of(module, "out_features")
    return width


def size_of(module: Module, key: str) -> int:
    """A size in the configuration of a module.

    Raises: ModelError: it is missing or not a positive whole number.
    """
    value = module.config.get(key)
    if not isinstance(value, int) or value < 1:
        raise ModelError(f"{module.path}/config.json must give a positive whole number for {key}; got {value!r}")
    return value


def pooling_names(checkpoint: Checkpoint) -> list[str]:
    """The library's names for how token states become one vector; the vectors of several poolings are concatenated.

    Raises: ModelError: the library does not know the name.
    """
    config = checkpoint.pooling
    mode = config.get("pooling_mode") or [LEGACY_KEYS.get(key, key) for key in config if _is_chosen(config, key)]
    names = [str(name) for name in (mode if isinstance(mode, list) else [mode])]
    if unknown := [name for name in names if name not in POOLINGS]:
        raise ModelError(f"{checkpoint.path} uses a pooling that is not supported: {', '.join(unknown)}")
    # Pooling.load_config: a file that chooses none means the mean.
    return names or (["mean"] if config else [])


def why_library_modules(checkpoint: Checkpoint) -> str | None:
    """Why only sentence-transformers' own modules compute this embedder correctly; None if other backends do too."""
    if checkpoint.model_type in ENCODER_HALVES:
        return f"sentence-transformers takes one half of the network: {checkpoint.model_type}"
    names = pooling_names(checkpoint)
    if len(names) > 1 or any(POOLINGS[name] is None for name in names):
        return f"there is no pooling of ours for: {', '.join(names)}"
    modules = modules_of(checkpoint)
    if foreign := [module.name for module in modules if module.name in ONLY_IN_LIBRARY]:
        return f"there is no module of ours for: {', '.join(foreign)}"
    odd = [module.name for module in modules if module.name in POST_POOLING and not is_vector_to_vector(module)]
    return f"there is nothing of ours for a part with such settings: {', '.join(odd)}" if odd else None


def is_vector_to_vector(module: Module) -> bool:
    """Whether a module maps one vector to one vector; a Dense must also have a known activation and no residual."""
    keys = (module.config.get("module_input_name"), module.config.get("module_output_name"))
    if not all(key in (None, "sentence_embedding") for key in keys):
        return False
    return module.name != "Dense" or (not module.config.get("use_residual") and activation_of(module) in ACTIVATIONS)


def activation_of(module: Module) -> str:
    """The name of a Dense module's activation in torch.nn; the full path if it comes from elsewhere."""
    path = str(module.config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    return path.rsplit(".", 1)[-1] if path.startswith("torch.nn.") else path


def check_modules(checkpoint: Checkpoint, supported: Sequence[str]) -> None:
    """Refuse modules that are not supported: leaving out a projection gives vectors that look right and are wrong.

    Raises: ModelError: the message names them.
    """
    if foreign := [name for name in checkpoint.module_types if not name.startswith(LIBRARY)]:
        raise ModelError(f"{checkpoint.path} needs code of its own, and no remote code is run: {', '.join(foreign)}")
    if unknown := [name for name, _ in checkpoint.module_paths if name not in supported]:
        raise ModelError(f"{checkpoint.path}/modules.json lists a module that is not supported: {', '.join(unknown)}")
    _refuse_pickled_modules(checkpoint)
    # In place of an activation that it does not trust, the library uses Tanh and logs a warning.
    activations = [activation_of(module) for module in modules_of(checkpoint) if module.name == "Dense"]
    if untrusted := [name for name in activations if "." in name]:
        raise ModelError(f"{checkpoint.path} needs code of its own, and no remote code is run: {', '.join(untrusted)}")


def _refuse_pickled_modules(checkpoint: Checkpoint) -> None:
    # sentence-transformers would read such a file with torch.load().
    for name, path in checkpoint.module_paths:
        folder = checkpoint.path / path
        if not path or (folder / WEIGHTS).exists() or not folder.is_dir():
            continue
        if pickles := sorted(file.name for file in folder.iterdir() if file.name.endswith(PICKLES)):
            raise ModelError(
                f"{folder} holds the weights of {name} as a pickle, which can run code when it is read: {pickles[0]}; "
                "use a revision of the model with safetensors, or write them without running code: "
                f"hearth convert {checkpoint.path}"
            )


def _is_chosen(config: JsonObject, key: str) -> bool:
    return key.startswith("pooling_mode_") and bool(config[key])


def lowers_case(checkpoint: Checkpoint) -> bool:
    """Whether texts are converted to lower case before tokenisation."""
    return bool(checkpoint.transformer_module_config.get("do_lower_case"))


def check_transformer_module(checkpoint: Checkpoint) -> None:
    """Refuse unsupported entries of the Transformer module that would change tokens or states.

    Raises: ModelError: the message names them.
    """
    config = checkpoint.transformer_module_config
    unknown = [
        key
        for key, value in config.items()
        if key not in ENTRIES_WITHOUT_EFFECT and value and not _is_harmless(key, value)
    ]
    if unknown:
        file = checkpoint.path / "sentence_bert_config.json"
        raise ModelError(f"{file} has entries that are not supported: {', '.join(unknown)}")
    task = str(config.get("transformer_task", "feature-extraction"))
    modalities = config.get("modality_config")
    if modalities is None:
        return
    modalities = modalities if isinstance(modalities, dict) else {}
    text = modalities.get("text")
    if "message" in modalities and task != "text-generation":
        raise ModelError(f"{checkpoint.path} wraps each text in a chat message, which is not supported")
    if task not in OUTPUTS or text != {"method": "forward", "method_output_name": OUTPUTS[task]}:
        raise ModelError(f"{checkpoint.path} uses a task or an output that is not supported: {task}, {text}")


def _is_harmless(key: str, value: Any) -> bool:
    # Hearth renders chat templates itself, or not at all; other settings of the tokenizer may change tokens.
    entries = value.items() if key == "processing_kwargs" and isinstance(value, dict) else [("", None)]
    return all(name == "chat_template" and isinstance(settings, dict) for name, settings in entries)
