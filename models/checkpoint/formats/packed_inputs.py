"""GPTQ and AWQ: `qweight`, `qzeros` and `scales`, stored as the transpose of the weight."""

from models.checkpoint.files import JsonObject
from models.checkpoint.formats.plan import WORD_BITS, PackedInputs, Plan, Shape, Stored, one_of, whole

# 3 bits cross the borders of words.
GPTQ_BITS = (2, 4, 8)
# The first format stores zero points less one.
ZERO_OFFSETS = {"gptq": 1, "gptq_v2": 0}


def plan_gptq(entries: JsonObject, stored: Stored) -> Plan:
    """Plan the weights of GPTQ, with or without an order of activations (`desc_act`).

    Raises: ModelError: a setting is not supported, or tensors do not fit it.
    """
    bits = one_of(stored, entries, "bits", GPTQ_BITS, None)
    layout = one_of(stored, entries, "checkpoint_format", (*ZERO_OFFSETS, None), None)
    if entries.get("dynamic"):
        raise stored.refusal(
            "has weights quantised by GPTQ with rules for single modules (dynamic), which are not supported"
        )
    scheme = PackedInputs("gptq", bits, _group(entries, stored), ZERO_OFFSETS[layout or "gptq"])
    order = ", by order of activations" if entries.get("desc_act") else ""
    return _plan(stored, scheme, f"gptq, {bits} bits{_groups(entries)}{order}")


def plan_awq(entries: JsonObject, stored: Stored) -> Plan:
    """Plan the weights of AWQ in its layout for matrix products (`gemm`).

    Raises: ModelError: a setting is not supported, or tensors do not fit it.
    """
    key = "bits" if "bits" in entries else "w_bit"
    bits = one_of(stored, entries, key, (4,), None)
    one_of(stored, {"version": str(entries.get("version", "gemm")).lower()}, "version", ("gemm",), None)
    one_of(stored, entries, "zero_point", (True, None), None)
    return _plan(stored, PackedInputs("awq", bits, _group(entries, stored)), f"awq, {bits} bits{_groups(entries)}")


def _group(entries: JsonObject, stored: Stored) -> int:
    key = "group_size" if "group_size" in entries else "q_group_size"
    return 0 if entries.get(key) == -1 else whole(stored, entries, key)


def _groups(entries: JsonObject) -> str:
    size = entries.get("group_size", entries.get("q_group_size"))
    return "" if size == -1 else f", groups of {size}"


def _plan(stored: Stored, scheme: PackedInputs, method: str) -> Plan:
    plan = Plan(method)
    for name in stored.tensors:
        if name.endswith(".qweight"):
            _add(plan, stored, scheme, name.removesuffix("qweight"))
    return plan


def _add(plan: Plan, stored: Stored, scheme: PackedInputs, prefix: str) -> None:
    words = WORD_BITS // scheme.bits
    parts = {"weight": f"{prefix}qweight", "zero": f"{prefix}qzeros", "scale": f"{prefix}scales"}
    for part in parts.values():
        if part not in stored.tensors:
            raise stored.refusal(f"lacks {part}, which a quantised weight needs")
    rows, columns = stored.tensors[parts["weight"]].shape
    inputs, outputs = (rows * words, columns) if scheme.packing == "gptq" else (rows, columns * words)
    if (order := f"{prefix}g_idx") in stored.tensors:
        parts["group_of_column"] = order
        # The last word of a column may be partly empty.
        inputs = min(inputs, *stored.tensors[order].shape)
    groups = -(-inputs // (scheme.group_inputs or inputs))
    expected: dict[str, Shape] = {"zero": (groups, -(-outputs // words)), "scale": (groups, outputs)}
    if scheme.packing == "gptq":
        expected["weight"] = -(-inputs // words), outputs
    for role, shape in expected.items():
        if (found := stored.tensors[parts[role]].shape) != shape:
            raise stored.refusal(
                f"holds {parts[role]} of the shape {list(found)}; by quantization_config it is {list(shape)}"
            )
    plan.add(f"{prefix}weight", (outputs, inputs), scheme, parts)
