"""From a config.json to the library's configuration of the same network, or a refusal by name. No networks."""

from collections.abc import Mapping
from typing import Any

from models.backends.entries import check_architecture, check_entries
from models.checkpoint import Checkpoint
from models.interface import ModelError
from models.quantised import quantisation

# Networks that the library has under another name. Kimi K2's own code is DeepSeek-V3's, its sizes aside.
SAME_NETWORK = {"kimi_k2": "deepseek_v3"}

# nomic-embed-text's published config.json uses GPT-2's words, which the library's own class does not read.
NOMIC_WORDS = {
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
# What the library's class computes; another value is another network.
NOMIC_VALUES: Mapping[str, tuple[object, ...]] = {
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
# Left out, they mean something else in nomic's own code.
NOMIC_REQUIRED = (
    *("activation_function", "mlp_fc1_bias", "mlp_fc2_bias", "n_embd", "n_head", "n_inner", "n_layer"),
    *("qkv_proj_bias", "rotary_emb_base", "rotary_emb_fraction"),
)
NOMIC_HARMLESS = {
    *("architectures", "attn_pdrop", "auto_map", "bos_token_id", "dense_seq_output", "embd_pdrop", "eos_token_id"),
    *("fused_bias_fc", "fused_dropout_add_ln", "max_trained_positions", "model_type", "pad_vocab_size_multiple"),
    *("reorder_and_upcast_attn", "resid_pdrop", "rotary_emb_base", "summary_activation", "summary_first_dropout"),
    *("summary_proj_to_labels", "summary_type", "summary_use_proj", "torch_dtype", "dtype", "transformers_version"),
    *("use_cache", "use_flash_attn", "use_xentropy", "_name_or_path"),
}


def read_config(checkpoint: Checkpoint) -> Any:
    """The library's configuration, in which nothing of config.json was ignored.

    Raises: ModelError: an entry that its class does not know, by name.
    """
    import transformers

    entries = checkpoint.config
    if checkpoint.model_type == "nomic_bert" and "n_embd" in entries:
        return transformers.NomicBertConfig(**_nomic(checkpoint))
    if checkpoint.model_type in SAME_NETWORK:
        name = SAME_NETWORK[checkpoint.model_type]
        own = {key: value for key, value in entries.items() if key != "auto_map"} | {"model_type": name}
        config = transformers.CONFIG_MAPPING[name].from_dict(own)
    else:
        check_architecture(checkpoint)
        config = transformers.AutoConfig.from_pretrained(
            checkpoint.path, trust_remote_code=False, local_files_only=True
        )
    check_entries(checkpoint, type(config))
    if quantisation(checkpoint):
        # The library's kernels for them need packages of their own, and give other numbers.
        config.quantization_config["dequantize"] = True
    return config


def _nomic(checkpoint: Checkpoint) -> dict[str, Any]:
    entries = checkpoint.config
    known = NOMIC_WORDS.keys() | NOMIC_HARMLESS
    wrong = [key for key, value in entries.items() if key not in known and value not in NOMIC_VALUES.get(key, ())]
    if wrong := wrong + [key for key in NOMIC_REQUIRED if key not in entries]:
        raise ModelError(
            f"{checkpoint.path}/config.json is of a NomicBERT that is not served; it differs in: {', '.join(wrong)}"
        )
    words = {NOMIC_WORDS[key]: value for key, value in entries.items() if key in NOMIC_WORDS and value is not None}
    rope = {"rope_type": "default", "rope_theta": float(entries["rotary_emb_base"])}
    return words | {"rope_parameters": rope}
