"""Reads the config.json of a Qwen3 checkpoint by a closed list of keys and values. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.checkpoint.formats.registry import QUANTIZATION_ENTRIES
from models.interface import ModelError
from models.networks.bookkeeping import BOOKKEEPING, SWITCHED_OFF
from models.networks.entries import check_unread

# The first two have an effect only beside use_sliding_window, which is refused; the others say how weights are stored.
IGNORED_KEYS = BOOKKEEPING | {"max_window_layers", "sliding_window", *QUANTIZATION_ENTRIES}
SIZES = (
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads"),
    *("head_dim", "vocab_size", "max_position_embeddings"),
)
# What the network computes; other values are refused.
VALUES: Mapping[str, tuple[object, ...]] = SWITCHED_OFF | {
    "model_type": ("qwen3",),
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "use_sliding_window": (False,),
    "rope_scaling": (None, {}, {"type": "default"}, {"rope_type": "default"}),
    "is_causal": (True, None),
    "tie_word_embeddings": (True, False),
}
CHECKED = ("rms_norm_eps", "rope_theta", "rope_parameters", "layer_types")
QWEN3_ENTRIES = frozenset((*IGNORED_KEYS, *SIZES, *VALUES, *CHECKED))
# What would make a checkpoint fit for this network.
_CURES = {
    "is_causal": ", but causal attention alone",
    "rope_scaling": "; without that entry it does, for texts of the length that the model was trained on",
    "quantization_config": "; with bfloat16 weights it does",
}


@dataclass(frozen=True, slots=True)
class Qwen3Config:
    """Sizes and constants of a Qwen3 network, under the names of config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float


def read_qwen3_config(config: Mapping[str, Any]) -> Qwen3Config:
    """Read a config.json that this network computes exactly.

    Raises: ModelError: names an entry that it does not compute, or that may mean another network.
    """
    check_unread(config, QWEN3_ENTRIES, "the packed Qwen3 network")
    for key, value in config.items():
        _check(key, value)
    theta = _rope_theta(config)
    heads = _size(config, "num_attention_heads")
    return Qwen3Config(
        hidden_size=_size(config, "hidden_size"),
        intermediate_size=_size(config, "intermediate_size"),
        num_hidden_layers=_size(config, "num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=_size(config, "num_key_value_heads"),
        # Never hidden_size / heads: Qwen3 has heads x head_dim != hidden_size. Without the key transformers uses 128.
        head_dim=_size(config, "head_dim"),
        rms_norm_eps=_epsilon(config.get("rms_norm_eps", 1e-6)),
        rope_theta=theta,
    )


def _check(key: str, value: object) -> None:
    known = _all_full(value) if key == "layer_types" else key not in VALUES or value in VALUES[key]
    if not known:
        clause = _CURES.get(key, "")
        raise ModelError(f"the packed Qwen3 network does not support {key} = {value!r} in config.json{clause}")


def _all_full(layer_types: object) -> bool:
    return layer_types is None or (isinstance(layer_types, list) and set(layer_types) == {"full_attention"})


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"config.json must give a positive whole number for {key}; got {value!r}")
    return value


def _epsilon(value: object) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise ModelError(f"config.json must give a number between 0 and 1 for rms_norm_eps; got {value!r}")
    return value


def _rope_theta(config: Mapping[str, Any]) -> float:
    # transformers 5 writes rope_parameters; earlier versions write rope_theta and rope_scaling.
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta")}
    if isinstance(rope, dict) and set(rope) <= {"rope_theta", "rope_type"}:
        theta = rope.get("rope_theta", config.get("rope_theta"))
        if rope.get("rope_type", "default") == "default" and isinstance(theta, int | float) and theta > 1:
            return float(theta)
    raise ModelError(f"the packed Qwen3 network does not support the rotary positions {rope!r} in config.json")
