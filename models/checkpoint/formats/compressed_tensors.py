"""compressed-tensors, as llm-compressor writes it: FP8, int8, and whole numbers packed into int32 words."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from models.checkpoint.files import JsonObject
from models.checkpoint.formats.plan import (
    FLOAT8,
    WORD_BITS,
    Blocks,
    PackedColumns,
    Plan,
    Shape,
    Stored,
    check_scale,
    one_of,
    scales_of_activations,
)

LAYOUTS = ("float-quantized", "int-quantized", "naive-quantized", "pack-quantized", "mixed-precision", "dense")
# Their words hold whole numbers of values; of other widths, versions of the library pack in two ways.
PACKED_BITS = (2, 4, 8)
LINEAR = "Linear"
PATTERN = "re:"


def plan_compressed_tensors(entries: JsonObject, stored: Stored) -> Plan:
    """Plan the weights by the group of config_groups that each module belongs to.

    Raises: ModelError: a setting is not supported, or tensors do not fit it.
    """
    one_of(stored, entries, "format", (*LAYOUTS, None), None)
    _refuse_transforms(entries, stored)
    groups = _groups(entries, stored)
    plan = Plan(f"compressed-tensors, {_describe(entries, groups)}", unread=scales_of_activations(stored))
    for name, tensor in stored.tensors.items():
        module, _, leaf = name.rpartition(".")
        scale = f"{module}.weight_scale"
        if leaf == "weight" and tensor.dtype in (FLOAT8, "I8") and scale in stored.tensors:
            _add_plain(plan, stored, module, _weights_of(module, groups, stored))
        elif leaf == "weight_packed":
            _add_packed(plan, stored, module, _weights_of(module, groups, stored))
    return plan


def _add_plain(plan: Plan, stored: Stored, module: str, weights: Mapping[str, Any]) -> None:
    name = f"{module}.weight"
    shape, blocks = stored.tensors[name].shape, _blocks(weights, stored)
    check_scale(stored, f"{name}_scale", shape, blocks)
    zero = _if_stored(stored, f"{name}_zero_point")
    if zero is not None:
        _check_size(stored, zero, blocks.grid(shape))
    plan.add(name, shape, blocks, {"weight": name, "scale": f"{name}_scale", "zero": zero})


def _add_packed(plan: Plan, stored: Stored, module: str, weights: Mapping[str, Any]) -> None:
    name = f"{module}.weight"
    one_of(stored, weights, "type", ("int",), "int")
    bits = one_of(stored, weights, "num_bits", PACKED_BITS, None)
    shape, blocks, words = _shape(stored, f"{name}_shape"), _blocks(weights, stored), WORD_BITS // bits
    _check_size(stored, f"{name}_packed", (shape[0], -(-shape[1] // words)))
    columns = _if_stored(stored, f"{name}_g_idx")
    check_scale(stored, f"{name}_scale", shape, blocks)
    zero = _if_stored(stored, f"{name}_zero_point")
    if zero is not None:
        rows, groups = blocks.grid(shape)
        _check_size(stored, zero, (-(-rows // words), groups))
    if columns is not None:
        _check_size(stored, columns, shape[1:])
    parts = {"weight": f"{name}_packed", "scale": f"{name}_scale", "zero": zero, "group_of_column": columns}
    plan.add(name, shape, PackedColumns(bits, blocks), parts)
    plan.unread.add(f"{name}_shape")


def _blocks(weights: Mapping[str, Any], stored: Stored) -> Blocks:
    strategy, group, block = (weights.get(key) for key in ("strategy", "group_size", "block_structure"))
    if strategy == "tensor":
        return Blocks(0, 0)
    if strategy == "channel":
        return Blocks(1, 0)
    if strategy == "group" and _are_sizes([group]):
        return Blocks(1, int(group or 0))
    if strategy == "block" and isinstance(block, list) and len(block) == 2 and _are_sizes(block):
        return Blocks(*block)
    raise stored.refusal(
        "has weights quantised by compressed-tensors with a strategy that is not supported (supported: tensor, "
        f"channel, and group and block with their sizes); got strategy: {strategy!r}, group_size: {group!r}, "
        f"block_structure: {block!r}"
    )


def _are_sizes(values: list[Any]) -> bool:
    return all(type(value) is int and value > 0 for value in values)


def _groups(entries: JsonObject, stored: Stored) -> list[tuple[list[str], JsonObject]]:
    """Of each group, the modules that it is for and how their weights are stored."""
    groups = entries.get("config_groups")
    if not isinstance(groups, dict):
        raise stored.refusal(f"needs config_groups in quantization_config; got {groups!r}")
    found = []
    for name, group in groups.items():
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(group, dict) or not isinstance(weights, dict | None):
            raise stored.refusal(f"needs an object for {name} in config_groups of quantization_config; got {group!r}")
        one_of(stored, group, "format", (*LAYOUTS, None), None)
        if weights is not None:
            one_of(stored, weights, "type", ("int", "float"), "int")
            found.append(([str(target) for target in group.get("targets") or ()], weights))
    return found


def _weights_of(module: str, groups: list[tuple[list[str], JsonObject]], stored: Stored) -> JsonObject:
    # compressed-tensors, match_targets(): names and patterns come before classes.
    by_name = [weights for targets, weights in groups if any(_is_named(module, target) for target in targets)]
    by_class = [weights for targets, weights in groups if LINEAR in targets]
    if not (candidates := by_name or by_class):
        raise stored.refusal(f"holds a quantised weight that no group of quantization_config is for: {module}")
    return candidates[0]


def _is_named(module: str, target: str) -> bool:
    if target.startswith(PATTERN):
        return re.match(target.removeprefix(PATTERN), module) is not None
    return module == target


def _refuse_transforms(entries: JsonObject, stored: Stored) -> None:
    if (entries.get("transform_config") or {}).get("config_groups"):
        raise stored.refusal(
            "has weights that were rotated (transform_config), which is not supported; use plain weights"
        )
    if (entries.get("sparsity_config") or {}).get("format", "dense") != "dense":
        raise stored.refusal(
            "has weights that are stored sparse (sparsity_config), which is not supported; use plain weights"
        )


def _shape(stored: Stored, name: str) -> Shape:
    tensor = stored.tensors.get(name)
    if tensor is None or tensor.dtype not in ("I64", "I32") or tensor.shape != (2,):
        raise stored.refusal(f"lacks the shape of a packed weight: {name}")
    rows, columns = np.frombuffer(stored.read(name), "<i8" if tensor.dtype == "I64" else "<i4").tolist()
    return rows, columns


def _check_size(stored: Stored, name: str, shape: Shape) -> None:
    found = stored.tensors[name].shape
    if [length for length in found if length != 1] != [length for length in shape if length != 1]:
        raise stored.refusal(
            f"holds {name} of the shape {list(found)}; by quantization_config it must be {list(shape)}"
        )


def _if_stored(stored: Stored, name: str) -> str | None:
    return name if name in stored.tensors else None


def _describe(entries: JsonObject, groups: list[tuple[list[str], JsonObject]]) -> str:
    kinds = {
        f"{weights.get('type', 'int')}{weights.get('num_bits')} by {weights.get('strategy')}" for _, weights in groups
    }
    return ", ".join(filter(None, (str(entries.get("format") or ""), *sorted(kinds))))
