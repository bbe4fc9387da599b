"""qwen3_config: a closed list. What is not known is refused by name."""

from typing import Any

import pytest

from models.interface import ModelError
from models.networks.qwen3_config import read_qwen3_config
from tests.support.checkpoints.qwen3 import CONFIG


def test_a_published_config_is_taken() -> None:
    config = read_qwen3_config(CONFIG)

    assert (config.head_dim, config.rope_theta, config.rms_norm_eps) == (32, 1e6, 1e-6)


def test_the_form_that_transformers_5_writes_is_taken() -> None:
    entries = {key: value for key, value in CONFIG.items() if key not in {"rope_theta", "rope_scaling"}}
    rope = {"rope_theta": 5000.0, "rope_type": "default"}

    config = read_qwen3_config(
        entries | {"rope_parameters": rope, "layer_types": ["full_attention"] * 2, "dtype": "bfloat16"}
    )

    assert config.rope_theta == 5000.0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("use_sliding_window", True),
        ("layer_types", ["full_attention", "sliding_attention"]),
        ("attention_bias", True),
        ("hidden_act", "gelu"),
        ("model_type", "qwen3_moe"),
        ("partial_rotary_factor", 0.5),
        ("is_causal", False),
    ],
)
def test_an_entry_that_could_change_numbers_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ModelError, match=key):
        read_qwen3_config(CONFIG | {key: value})


@pytest.mark.parametrize(
    "rope", [{"rope_type": "yarn", "rope_theta": 1e6}, {"rope_theta": 1e6, "factor": 2.0}, {"rope_type": "default"}]
)
def test_rotary_parameters_of_another_kind_are_refused(rope: dict[str, Any]) -> None:
    entries = {key: value for key, value in CONFIG.items() if key != "rope_theta"}

    with pytest.raises(ModelError, match="rotary positions"):
        read_qwen3_config(entries | {"rope_parameters": rope})


@pytest.mark.parametrize("key", ["head_dim", "hidden_size", "num_key_value_heads"])
def test_a_missing_size_is_named(key: str) -> None:
    with pytest.raises(ModelError, match=f"positive whole number for {key}"):
        read_qwen3_config({name: value for name, value in CONFIG.items() if name != key})
