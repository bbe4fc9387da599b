"""Which entries of a config.json a class of the library understands. No networks."""

import importlib
import inspect
import re
from typing import Any

from models.checkpoint import Checkpoint
from models.interface import ModelError

# Entries of config.json beyond those of its class that change no number.
HARMLESS = {
    *("_name_or_path", "_commit_hash", "adapters", "architectures", "auto_map", "finetuning_task", "language"),
    *("gradient_checkpointing", "max_window_layers", "model_max_length", "model_type", "name", "num_labels"),
    *(
        "n_positions",
        "output_attentions",
        "output_past",
        "pretraining_tp",
        "pruned_heads",
        "rope_scaling",
        "rope_theta",
        "task_specific_params",
    ),
    *("tie_encoder_decoder", "tokenizer_class", "torch_dtype", "torchscript", "transformers_version"),
    *("unsloth_version", "use_bfloat16", "use_cache", "output_past", "sentence_transformers", "repad_logits_with_grad"),
    *("aux_loss_alpha", "seq_aux", "sbert_ce_default_activation_function"),
    # gpt-oss: what rope_scaling says too, and how its weights are stored.
    *("initial_context_length", "quantization_config"),
}
# What the library's class does without being told; another value is another network.
HARMLESS_VALUES: dict[str, tuple[object, ...]] = {
    "position_embedding_type": ("absolute",),
    # DeepSeek-V3 and Kimi K2.
    "ep_size": (1,),
    "moe_layer_freq": (1,),
    "scoring_func": ("sigmoid",),
    "topk_method": ("noaux_tc",),
}
# Second names: harmless where they say what the first one says.
TWINS = {"experts_per_token": "num_experts_per_tok", "layer_norm_eps": "norm_eps"}


def check_architecture(checkpoint: Checkpoint) -> None:
    """Refuse a network that the library does not have.

    Raises: ModelError: names it.
    """
    import transformers

    if checkpoint.model_type in transformers.CONFIG_MAPPING:
        return
    if checkpoint.config.get("auto_map"):
        raise ModelError(f"{checkpoint.path} needs code of its own (auto_map), and no remote code is run")
    known = f"transformers {transformers.__version__} knows no such network"
    raise ModelError(
        f"{checkpoint.path} cannot be run, {known}: {checkpoint.model_type or 'config.json has no model_type'}"
    )


def check_entries(checkpoint: Checkpoint, config_class: Any) -> None:
    """Refuse entries of config.json that the library would carry along without a look.

    Raises: ModelError: names them.
    """
    known = HARMLESS | set(getattr(config_class, "__dataclass_fields__", ())) | set(config_class.attribute_map)
    known |= _read_in(config_class)
    unknown = [
        key
        for key, value in checkpoint.config.items()
        if key not in known and value is not None and not _says_nothing_new(key, value, checkpoint)
    ]
    if unknown:
        name = config_class.__name__
        raise ModelError(f"{checkpoint.path}/config.json has entries unknown to {name}: {', '.join(unknown)}")


def _says_nothing_new(key: str, value: object, checkpoint: Checkpoint) -> bool:
    if key in TWINS:
        return bool(value == checkpoint.config.get(TWINS[key]))
    return value in HARMLESS_VALUES.get(key, ())


def _read_in(config_class: Any) -> set[str]:
    """Every word in the library's files of this architecture: not all that they read is a field of the config."""
    words: set[str] = set()
    for each in config_class.__mro__:
        if not each.__module__.startswith("transformers.models."):
            continue
        for name in (each.__module__, each.__module__.replace(".configuration_", ".modeling_")):
            try:
                words |= set(re.findall(r"\w+", inspect.getsource(importlib.import_module(name))))
            except (ImportError, OSError, TypeError):
                continue  # a class without a file of its own, or a library without its sources
    return words
