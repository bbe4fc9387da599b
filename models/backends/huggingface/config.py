"""Turns config.json into the configuration that transformers uses, and refuses by name what it would ignore."""

import copy
import importlib
import inspect
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from models.checkpoint.folder import Checkpoint
from models.checkpoint.formats.registry import QUANTIZATION_ENTRIES
from models.interface import ModelError
from models.networks.bookkeeping import ATTENTION_CHOICES, BOOKKEEPING, SWITCHED_OFF
from models.networks.entries import check_own_code, check_unread, say_unread

# Networks that the library has under another name. Kimi K2's own code is DeepSeek-V3's; only its sizes differ.
SAME_NETWORK = {"kimi_k2": "deepseek_v3"}

# Entries of config.json that are not fields of its class, and change no number.
KEYS_WITHOUT_EFFECT = BOOKKEEPING | {
    *("adapters", "max_window_layers", "model_max_length", "model_type", "n_positions", "repad_logits_with_grad"),
    *("rope_scaling", "rope_theta"),  # the class renames them
    *("aux_loss_alpha", "seq_aux"),  # of the training of DeepSeek-V3
    "initial_context_length",  # gpt-oss: it repeats rope_scaling
    *QUANTIZATION_ENTRIES,
}
# Entries that the class would obey: what a forward pass returns, and by which kernel.
OVERRULED = {
    **dict.fromkeys(ATTENTION_CHOICES),
    "return_dict": True,
    "torchscript": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "chunk_size_feed_forward": 0,
}
# Second names of an entry; harmless if both have one value.
SYNONYMS = {"experts_per_token": "num_experts_per_tok", "layer_norm_eps": "norm_eps"}

# nomic-embed-text's published config.json uses the key names of GPT-2, which the library's class does not read.
NOMIC_KEYS = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
    "vocab_size": "vocab_size",
    "type_vocab_size": "type_vocab_size",
    "initializer_range": "initializer_range",
    "pad_token_id": "pad_token_id",
}
# What the library's class computes; another value would need another network.
NOMIC_VALUES: Mapping[str, tuple[object, ...]] = SWITCHED_OFF | {
    "activation_function": ("swiglu",),
    "causal": (False,),
    "mlp_fc1_bias": (False,),
    "mlp_fc2_bias": (False,),
    "parallel_block": (False,),
    "parallel_block_tied_norm": (False,),
    "prenorm": (False,),
    "qkv_proj_bias": (False,),
    "rotary_emb_fraction": (1.0,),
    "rotary_emb_interleaved": (False,),
    "rotary_emb_scale_base": (None,),
    "rotary_scaling_factor": (None,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "scale_attn_weights": (True,),
    "use_rms_norm": (False, None),
}
# nomic's own code has other defaults than the library for these.
NOMIC_REQUIRED = (
    *("activation_function", "mlp_fc1_bias", "mlp_fc2_bias", "n_embd", "n_head", "n_inner", "n_layer"),
    *("qkv_proj_bias", "rotary_emb_base", "rotary_emb_fraction"),
)
NOMIC_KEYS_WITHOUT_EFFECT = BOOKKEEPING | {
    *("attn_pdrop", "dense_seq_output", "embd_pdrop", "fused_bias_fc", "fused_dropout_add_ln"),
    *("max_trained_positions", "model_type", "pad_vocab_size_multiple", "reorder_and_upcast_attn", "rotary_emb_base"),
    *("summary_activation", "summary_proj_to_labels", "summary_type", "summary_use_proj", "use_xentropy"),
}


def library_config(checkpoint: Checkpoint) -> Any:
    """The library's configuration, in which no entry of config.json was ignored.

    Raises: ModelError: the library does not have this network, or its class does not know an entry; by name.
    """
    import transformers

    entries = checkpoint.config
    if checkpoint.model_type == "nomic_bert" and "n_embd" in entries:
        return transformers.NomicBertConfig(**_nomic_entries(checkpoint))
    name = _library_name(checkpoint)
    if name != checkpoint.model_type:
        entries = {key: value for key, value in entries.items() if key != "auto_map"} | {"model_type": name}
    else:
        check_architecture(checkpoint)
    # A copy: the class and the line below change nested entries, and those of the checkpoint are shared.
    # The weights come to the library as plain ones.
    entries = {key: value for key, value in entries.items() if key not in (*OVERRULED, *QUANTIZATION_ENTRIES)}
    config = transformers.CONFIG_MAPPING[name].from_dict(copy.deepcopy(entries))
    check_entries(checkpoint, type(config))
    return config


def check_architecture(checkpoint: Checkpoint) -> None:
    """Refuse a network that the library does not have.

    Raises: ModelError: names it.
    """
    import transformers

    if checkpoint.model_type in transformers.CONFIG_MAPPING:
        return
    if checkpoint.config.get("auto_map"):
        raise ModelError(
            f"{checkpoint.path} needs code of its own (auto_map); remote code is never run, "
            "so this checkpoint is not supported"
        )
    if not checkpoint.model_type:
        raise ModelError(f"{checkpoint.path}/config.json has no model_type")
    raise ModelError(
        f"{checkpoint.path} cannot be run: "
        f"transformers {transformers.__version__} does not have the model_type {checkpoint.model_type!r}"
    )


def check_entries(checkpoint: Checkpoint, config_class: Any) -> None:
    """Refuse entries of config.json that the library would store without using them, if they may change numbers.

    Raises: ModelError: names them; or the network has code of its own.
    """
    check_own_code(checkpoint)
    fields = set(getattr(config_class, "__dataclass_fields__", ())) | set(config_class.attribute_map)
    known = KEYS_WITHOUT_EFFECT | SYNONYMS.keys() | fields | _words_of_source(config_class)
    entries = checkpoint.config
    name = config_class.__name__.removesuffix("Config")
    try:
        check_unread(entries, known, name)
    except ModelError as error:
        raise ModelError(f"{checkpoint.path}/{error}") from None
    for second, first in SYNONYMS.items():
        if second not in fields and entries.get(second) is not None and entries[second] != entries.get(first):
            raise ModelError(
                f"{checkpoint.path}/config.json gives two values for one setting: {second}: {entries[second]!r}, and "
                f"{first}: {entries.get(first)!r}"
            )
    say_unread(checkpoint, known)


@cache
def _words_of_source(config_class: Any) -> set[str]:
    """Every word in the library's files of this architecture: they read entries that are not fields of the config."""
    words: set[str] = set()
    for ancestor in config_class.__mro__:
        if not ancestor.__module__.startswith("transformers.models."):
            continue
        for name in (ancestor.__module__, ancestor.__module__.replace(".configuration_", ".modeling_")):
            try:
                words |= set(re.findall(r"\w+", inspect.getsource(importlib.import_module(name))))
            except (ImportError, OSError, TypeError):
                continue  # a class without a file of its own, or a library without its sources
    return words


def _library_name(checkpoint: Checkpoint) -> str:
    """The model type under which the library has this network."""
    # transformers, AutoConfig.from_pretrained: a Mistral with `layer_types` is loaded as Ministral.
    if checkpoint.model_type == "mistral" and "layer_types" in checkpoint.config:
        return "ministral"
    return SAME_NETWORK.get(checkpoint.model_type, checkpoint.model_type)


def _nomic_entries(checkpoint: Checkpoint) -> dict[str, Any]:
    entries = checkpoint.config
    known = NOMIC_KEYS.keys() | NOMIC_KEYS_WITHOUT_EFFECT
    wrong = [key for key, value in entries.items() if key not in known and value not in NOMIC_VALUES.get(key, ())]
    if wrong := wrong + [key for key in NOMIC_REQUIRED if key not in entries]:
        raise ModelError(
            f"{checkpoint.path}/config.json describes a NomicBERT variant that is not supported; "
            f"these entries are unknown, missing or have another value: {', '.join(wrong)}"
        )
    renamed = {NOMIC_KEYS[key]: value for key, value in entries.items() if key in NOMIC_KEYS and value is not None}
    rope = {"rope_type": "default", "rope_theta": float(entries["rotary_emb_base"])}
    return renamed | {"rope_parameters": rope}
