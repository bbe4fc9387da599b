"""MXFP4 as gpt-oss stores it: the matrices of all experts as blocks of 32 numbers and their scales."""

from models.checkpoint.files import JsonObject
from models.checkpoint.formats.plan import Microscaled, Plan, Stored

_BLOCKS, _SCALES = "_blocks", "_scales"
# A byte holds two numbers.
NUMBERS_PER_BYTE = 2


def plan_mxfp4(entries: JsonObject, stored: Stored) -> Plan:
    """Plan the experts' matrices.

    Raises: ModelError: blocks have no scales, or others than they need.
    """
    del entries
    plan = Plan("mxfp4")
    for name, tensor in stored.tensors.items():
        if not name.endswith(_BLOCKS) or tensor.dtype != "U8":
            continue
        scales = name.removesuffix(_BLOCKS) + _SCALES
        if len(tensor.shape) != 4 or scales not in stored.tensors or stored.tensors[scales].shape != tensor.shape[:3]:
            raise stored.refusal(f"holds {name} without one scale for each of its blocks in {scales}")
        experts, outputs, groups, size = tensor.shape
        shape = experts, groups * size * NUMBERS_PER_BYTE, outputs
        plan.add(name.removesuffix(_BLOCKS), shape, Microscaled(), {"weight": name, "scale": scales})
    return plan
