"""Which quantised weights are read is a closed list: all else is refused with its name, the value and what to do."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models import ModelError
from models.checkpoint.folder import Checkpoint
from tests.support.checkpoints.quantized import FORMATS, compressed

BY_NAME = {format_.name: format_ for format_ in FORMATS}
Parts = dict[str, torch.Tensor]


def checkpoint(folder: Path, entry: object, parts: Mapping[str, torch.Tensor]) -> Checkpoint:
    save_file({f"proj.{leaf}": part.contiguous() for leaf, part in parts.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "x", "quantization_config": entry}), "utf-8")
    return Checkpoint(folder)


def stored(name: str) -> Parts:
    matrix = np.random.default_rng(0).normal(size=(192, 320)).astype(np.float32)
    return BY_NAME[name].quantize(matrix)[0]


@pytest.mark.parametrize("method", ["torchao", "hqq", "quanto", "modelopt", "auto-round", "a_method_of_next_year"])
def test_a_method_outside_the_list_is_refused_with_what_to_do(method: str, tmp_path: Path) -> None:
    model = checkpoint(tmp_path, {"quant_method": method}, {"weight": torch.ones(2, 2)})

    with pytest.raises(ModelError, match=rf"quantised as {method}, which is not supported; .*supported: fp8, compr"):
        model.check()


# A format, what its quantization_config says instead, and a part of the message.
SETTINGS: list[tuple[str, dict[str, Any], str]] = [
    ("fp8", {"fmt": "e5m2"}, "fmt: 'e5m2'"),
    ("fp8", {"weight_block_size": [128]}, r"two positive whole numbers for weight_block_size.*got \[128\]"),
    # 192 rows divide into blocks of 96 with two scales: what shapes would tell is wrong.
    ("fp8", {"weight_block_size": [96, 64]}, r"scales proj\.weight_scale_inv of the shape \[2, 3\].*needs \[2, 5\]"),
    ("fp8", {"weight_block_size": None}, r"blocks are all x all, which needs \[1, 1\]"),
    ("compressed-int8", {"format": "nvfp4-pack-quantized"}, "format: 'nvfp4-pack-quantized'"),
    ("compressed-int8", {"format": "marlin-24"}, "format: 'marlin-24'"),
    ("compressed-int8", {"sparsity_config": {"format": "sparse-24-bitmask"}}, "stored sparse"),
    ("compressed-int8", {"transform_config": {"config_groups": {"R1": {}}}}, "were rotated"),
    ("compressed-int8", {"config_groups": None}, "needs config_groups"),
    ("compressed-int8", compressed("int-quantized", type="int", strategy="tensor_group"), "strategy: 'tensor_group'"),
    ("compressed-int8", {"config_groups": {"g": {"targets": ["re:other"], "weights": {}}}}, "no group.*proj"),
    (
        "compressed-int4-groups",
        compressed("pack-quantized", type="int", num_bits=3, strategy="group", group_size=32),
        "num_bits: 3",
    ),
    (
        "compressed-int4-groups",
        compressed("pack-quantized", type="int", num_bits=4, strategy="group", group_size=64),
        r"weight_scale of the shape \[192, 10\].*needs \[192, 5\]",
    ),
    ("awq", {"bits": 3}, "bits: 3"),
    ("awq", {"version": "gemv"}, "version: 'gemv'"),
    ("awq", {"zero_point": False}, "zero_point: False"),
    ("awq", {"group_size": 64}, r"qzeros of the shape \[10, 24\].*it is \[5, 24\]"),
    ("awq", {"group_size": None}, "whole number of at least 1 for group_size"),
    ("gptq", {"bits": 3}, "bits: 3"),
    ("gptq", {"checkpoint_format": "marlin"}, "checkpoint_format: 'marlin'"),
    ("gptq", {"dynamic": {"-:.*lm_head": {}}}, "rules for single modules"),
    ("gptq", {"group_size": 128}, r"qzeros of the shape \[10, 24\].*it is \[3, 24\]"),
]


@pytest.mark.parametrize(("name", "entries", "message"), SETTINGS)
def test_a_setting_outside_the_list_is_refused_with_its_value(
    name: str, entries: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = checkpoint(tmp_path, {**BY_NAME[name].config, **entries}, stored(name))

    with pytest.raises(ModelError, match=message):
        model.check()


def without(parts: Parts, *leaves: str) -> Parts:
    return {leaf: part for leaf, part in parts.items() if leaf not in leaves}


# What a damaged or unusual file holds in place of `name`'s tensors.
TENSORS: list[tuple[str, dict[str, torch.Tensor | None], str]] = [
    ("fp8", {"weight_scale_inv": None}, r"proj\.weight is F8_E4M3; its scales are missing: proj\.weight_scale_inv"),
    ("fp8", {"weight_scale_inv": torch.ones(2, 3, dtype=torch.int32)}, "weight_scale_inv is I32"),
    ("compressed-int8", {"weight_scale": None}, r"proj\.weight is I8"),
    ("compressed-int8-asymmetric", {"weight_zero_point": torch.ones(7, 1)}, r"zero_point of the shape \[7, 1\]"),
    ("compressed-int4-groups", {"weight_shape": None}, r"lacks the shape of a packed weight: proj\.weight_shape"),
    ("compressed-int4-groups", {"weight_shape": torch.tensor([192, 400])}, r"weight_packed of the shape \[192, 40\]"),
    ("bitsandbytes-int8", {"SCB": torch.ones(3)}, r"scales without an int8 weight of as many rows: proj\.SCB"),
    ("bitsandbytes-int8", {"weight_format": torch.tensor(1, dtype=torch.uint8)}, "in the order of a GPU"),
    ("bitsandbytes-nf4", {"weight.absmax": None}, r"lacks proj\.weight\.absmax"),
    ("bitsandbytes-nf4", {"weight.absmax": torch.ones(4)}, r"absmax of 16 bytes; its description needs 3840"),
    (
        "bitsandbytes-nf4",
        {"weight.quant_state.bitsandbytes__nf4": torch.zeros(3, dtype=torch.uint8)},
        "a description of a 4-bit weight that is not JSON",
    ),
    ("awq", {"qzeros": None}, r"lacks proj\.qzeros"),
    ("gptq", {"scales": torch.ones(10, 8)}, r"scales of the shape \[10, 8\]"),
]


@pytest.mark.parametrize(("name", "changes", "message"), TENSORS)
def test_tensors_that_do_not_belong_together_are_named(
    name: str, changes: dict[str, torch.Tensor | None], message: str, tmp_path: Path
) -> None:
    parts = {leaf: part for leaf, part in {**stored(name), **changes}.items() if part is not None}
    model = checkpoint(tmp_path, BY_NAME[name].config, parts)

    with pytest.raises(ModelError, match=message):
        model.check()


def test_scales_of_activations_are_no_weights(tmp_path: Path) -> None:
    parts = stored("fp8") | {"input_scale": torch.ones(1), "k_scale": torch.ones(())}

    assert checkpoint(tmp_path, BY_NAME["fp8"].config, parts).tensors == {"proj.weight": (192, 320)}


def test_groups_by_name_come_before_those_by_class(tmp_path: Path) -> None:
    by_class = compressed("float-quantized", type="float", num_bits=8, strategy="tensor")
    by_name = compressed("float-quantized", type="float", num_bits=8, strategy="channel")["config_groups"]["group_0"]
    groups = by_class["config_groups"] | {"group_1": by_name | {"targets": ["re:.*proj$"]}}

    model = checkpoint(tmp_path, by_class | {"config_groups": groups}, stored("compressed-fp8-channel"))

    assert model.tensors == {"proj.weight": (192, 320)}


def test_plain_weights_stay_plain_whatever_config_json_says_of_them(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, {"quant_method": "bitsandbytes", "load_in_4bit": True}, {"weight": torch.ones(2, 2)})

    assert model.plan is None
    assert model.tensors == {"proj.weight": (2, 2)}


def test_parameters_are_those_of_the_plain_weights(tmp_path: Path) -> None:
    assert checkpoint(tmp_path, BY_NAME["awq"].config, stored("awq")).parameters == 192 * 320
