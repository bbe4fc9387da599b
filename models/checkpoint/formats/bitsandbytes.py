"""bitsandbytes: int8 with a scale for each row, and nf4 or fp4 with a table and, perhaps, quantised scales."""

import json
import math

from models.checkpoint.files import JsonObject
from models.checkpoint.formats.plan import Codebook, Plan, RowScaled, Scheme, Shape, Stored, StoredTensor

# Beside a weight: its shape, its table's name and its blocks, as JSON in bytes.
STATE = ".quant_state.bitsandbytes__"
TABLES = ("nf4", "fp4")
# bitsandbytes, Linear8bitLt: 0 is "row"; others are for older GPUs.
ROW_FORMAT = 0


def plan_bitsandbytes(entries: JsonObject, stored: Stored) -> Plan:
    """Plan the weights by what lies beside each one.

    Raises: ModelError: a weight has another layout.
    """
    plan = Plan("bitsandbytes")
    for name in stored.tensors:
        if STATE in name:
            _add_codebook(plan, stored, name)
        elif name.endswith(".SCB"):
            _add_rows(plan, stored, name.removesuffix("SCB"))
    plan.method = ", ".join(
        ["bitsandbytes", *sorted({_kind(weight.scheme, entries) for weight in plan.weights.values()})]
    )
    return plan


def _kind(scheme: Scheme, entries: JsonObject) -> str:
    if not isinstance(scheme, Codebook):
        return "int8"
    table = str(entries.get("bnb_4bit_quant_type", "4 bits"))
    return f"{table} with quantised scales" if scheme.nested_block else table


def _add_rows(plan: Plan, stored: Stored, prefix: str) -> None:
    name, layout = f"{prefix}weight", f"{prefix}weight_format"
    tensor, scale = stored.tensors.get(name), stored.tensors[f"{prefix}SCB"]
    if tensor is None or tensor.dtype != "I8" or len(tensor.shape) != 2 or math.prod(scale.shape) != tensor.shape[0]:
        raise stored.refusal(f"holds scales without an int8 weight of as many rows: {prefix}SCB")
    if layout in stored.tensors:
        if any(stored.read(layout)):
            raise stored.refusal(f"stores {name} in the order of a GPU; load and save it with a newer bitsandbytes")
        plan.unread.add(layout)
    plan.add(name, tensor.shape, RowScaled(), {"weight": name, "scale": f"{prefix}SCB"})


def _add_codebook(plan: Plan, stored: Stored, state_name: str) -> None:
    name, _, table = state_name.partition(STATE)
    state = _state(stored, state_name)
    shape, block = _shape(state), state.get("blocksize")
    if table not in TABLES or shape is None or type(block) is not int or block < 1:
        raise stored.refusal(
            f"holds a 4-bit weight that is not supported (supported: {', '.join(TABLES)}): {state_name}"
        )
    count = math.prod(shape)
    parts = {"weight": name, "table": f"{name}.quant_map", "scale": f"{name}.absmax"}
    blocks = -(-count // block)
    if is_nested := f"{name}.nested_absmax" in stored.tensors:
        parts |= {"nested_table": f"{name}.nested_quant_map", "nested_scale": f"{name}.nested_absmax"}
    for part in parts.values():
        if part not in stored.tensors:
            raise stored.refusal(f"lacks {part}, which a 4-bit weight of bitsandbytes needs")
    _check_bytes(stored, name, -(-count // 2))
    _check_bytes(stored, parts["scale"], blocks * (1 if is_nested else 4))
    nested_block = state.get("nested_blocksize", 0) if is_nested else 0
    scheme = Codebook(block, int(nested_block), float(state.get("nested_offset", 0.0)) if is_nested else 0.0)
    plan.add(name, shape, scheme, parts)
    plan.unread.add(state_name)


def _state(stored: Stored, name: str) -> JsonObject:
    try:
        state = json.loads(stored.read(name))
    except ValueError:
        state = None
    if not isinstance(state, dict):
        raise stored.refusal(f"holds a description of a 4-bit weight that is not JSON: {name}")
    return state


def _shape(state: JsonObject) -> Shape | None:
    shape = state.get("shape")
    is_shape = isinstance(shape, list) and len(shape) == 2 and all(type(size) is int and size > 0 for size in shape)
    return tuple(shape) if is_shape and isinstance(shape, list) else None


def _check_bytes(stored: Stored, name: str, expected: int) -> None:
    found = _bytes(stored.tensors[name])
    if found != expected:
        raise stored.refusal(f"holds {name} of {found} bytes; its description needs {expected}")


def _bytes(tensor: StoredTensor) -> int:
    # A 4-bit weight may be stored as another type of the same bytes (bnb_4bit_quant_storage).
    return math.prod(tensor.shape) * {"F32": 4, "F16": 2, "BF16": 2}.get(tensor.dtype, 1)
