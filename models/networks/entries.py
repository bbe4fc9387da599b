"""What an entry of config.json that a network does not read may mean: other numbers, or nothing. No torch.

Ignoring YaRN gave vectors of cosine 0.946, ignoring a sliding window 0.458, both without an error. So an entry that is
known to change numbers is refused; any other is only named in the log, since trainers record what they like.
"""

import logging
from collections.abc import Container, Mapping
from typing import Any

from models.checkpoint.folder import Checkpoint
from models.interface import ModelError
from models.networks.bookkeeping import SWITCHED_OFF

log = logging.getLogger("hearth.models")

CODE = "auto_map"
# Model types that were published with code of their own (auto_map) before transformers had the same network.
SAME_CODE = {"deepseek_v2", "deepseek_v3", "falcon", "kimi_k2", "mpt", "nomic_bert", "phi", "phi3", "phimoe"}

_OFF = (None, False)
# Entries that change numbers in networks that read them, and leave no trace in the tensors: each with the values that
# say nothing. They are the fields of transformers' configurations and of published models' own code.
CHANGES_NUMBERS: Mapping[str, tuple[object, ...]] = SWITCHED_OFF | {
    # Which tokens see each other.
    **dict.fromkeys(("use_bidirectional_attention", "use_sliding_window", "use_mrope", "causal_mask"), _OFF),
    **dict.fromkeys(("sliding_window", "sliding_window_size", "sliding_window_pattern", "local_attention"), _OFF),
    **dict.fromkeys(("attention_window", "attention_chunk_size", "attention_types", "attention_sinks"), _OFF),
    "window_size": _OFF,
    "bidirectional": _OFF,
    "causal": _OFF,
    # Positions.
    "position_embedding_type": ("absolute", None),
    **dict.fromkeys(("alibi", "use_alibi", "alibi_starting_size", "relative_attention", "logn_list"), _OFF),
    **dict.fromkeys(("use_dynamic_ntk", "use_logn_attn", "rope_interleave", "rope_interleaved"), _OFF),
    **dict.fromkeys(("rotary_emb_interleaved", "rotary_emb_scale_base", "rotary_scaling_factor"), _OFF),
    **dict.fromkeys(("no_rope_layers", "no_rope_layer_interval", "rope_scaling", "rope_parameters"), _OFF),
    **dict.fromkeys(("partial_rotary_factor", "rotary_pct", "rotary_emb_fraction"), (1, 1.0, None)),
    # Scales, caps and norms.
    **dict.fromkeys(("embedding_multiplier", "residual_multiplier", "embedding_scale", "scale_emb"), (1, 1.0, None)),
    **dict.fromkeys(("scale_embedding", "scale_embeddings", "scale_attn_by_inverse_layer_idx"), _OFF),
    **dict.fromkeys(("attention_multiplier", "query_pre_attn_scalar", "scale_depth", "dim_model_base"), (None,)),
    **dict.fromkeys(("attn_logit_softcapping", "attention_logit_cap", "logits_soft_cap", "clip_qkv"), _OFF),
    **dict.fromkeys(("use_qk_norm", "qk_layernorm", "use_rms_norm", "normalize_embeddings"), _OFF),
    **dict.fromkeys(("parallel_attn", "parallel_block", "use_parallel_residual", "prenorm", "pre_norm"), _OFF),
    **dict.fromkeys(("apply_residual_connection_post_layernorm", "residual_in_fp32"), _OFF),
    # Parts that a network of this name does not have.
    **dict.fromkeys(("lora_rank", "lora_adaptations", "adapter_layers", "moe_every_n_layers", "truncate_dim"), _OFF),
    "attention_head_type": ("multihead", None),
    # DeepSeek-V3 and Kimi K2.
    **dict.fromkeys(("ep_size", "moe_layer_freq"), (1,)),
    "scoring_func": ("sigmoid",),
    "topk_method": ("noaux_tc",),
    "scale_attn_weights": (True, None),
}


def has_own_code(checkpoint: Checkpoint) -> bool:
    """Whether config.json names code for the network that may compute something else than the library's network."""
    code = checkpoint.config.get(CODE)
    names = any(str(name).startswith("AutoModel") for name in code) if isinstance(code, dict) else bool(code)
    # gte-Qwen2's code is Qwen2 with attention both ways, which this entry tells the library too.
    is_gte = checkpoint.model_type == "qwen2" and checkpoint.config.get("is_causal") is False
    return names and not is_gte and checkpoint.model_type not in SAME_CODE


def check_own_code(checkpoint: Checkpoint) -> None:
    """Refuse a folder whose network is its own code, though a network has its model_type.

    Raises: ModelError.
    """
    if has_own_code(checkpoint):
        raise ModelError(
            f"{checkpoint.path} names code of its own for its network (auto_map in config.json); remote code is never "
            f"run, and the network {checkpoint.model_type!r} may compute other vectors; if it computes the same, set "
            "`ignore_entries: [auto_map]`"
        )


def check_unread(entries: Mapping[str, Any], known: Container[str], network: str) -> None:
    """Refuse entries that a network does not read and that may change numbers.

    Args:
        entries: config.json.
        known: names of the entries that the network reads, or knows to say nothing.
        network: its name, for the message.
    Raises: ModelError: names them.
    """
    if names := [
        key for key, value in entries.items() if key not in known and _may_change_numbers(entries, key, value)
    ]:
        reader = "the folder's own code (auto_map) may read" if entries.get(CODE) else "would change its numbers"
        listed = ", ".join(names)
        raise ModelError(
            f"config.json has entries that are unknown to {network}, and that {reader}: {listed}; "
            f"if the model was trained without them, set `ignore_entries: [{listed}]`"
        )


def _may_change_numbers(entries: Mapping[str, Any], key: str, value: object) -> bool:
    if key in CHANGES_NUMBERS:
        return value not in CHANGES_NUMBERS[key]
    # Code of the folder's own may read any entry.
    return value is not None and bool(entries.get(CODE))


def say_unread(checkpoint: Checkpoint, known: Container[str]) -> None:
    """Name in the log the entries that nothing reads."""
    if names := [key for key, value in checkpoint.config.items() if key not in known and value is not None]:
        log.warning(
            "%s: config.json has entries that this network does not read, and that are not known to change its "
            "numbers: %s; `ignore_entries: [%s]` ends this warning",
            checkpoint.path,
            ", ".join(names),
            ", ".join(names),
        )
