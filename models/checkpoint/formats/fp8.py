"""FP8 as DeepSeek, Kimi K2 and Qwen publish it: `weight` beside `weight_scale_inv`, a scale for each block."""

from models.checkpoint.files import JsonObject
from models.checkpoint.formats.plan import (
    FLOAT8,
    Blocks,
    Plan,
    Stored,
    check_scale,
    one_of,
    scales_of_activations,
)

# The first is of transformers and the publishers, the second of vLLM's own files, which have one scale for a matrix.
_SCALES = ("_scale_inv", "_scale")


def plan_fp8(entries: JsonObject, stored: Stored) -> Plan:
    """Plan the weights by the block size in config.json: that of a matrix's shape would be wrong for partial blocks.

    Raises: ModelError: a setting is not supported, or the scales do not fit the blocks.
    """
    one_of(stored, entries, "fmt", ("e4m3", "float8_e4m3fn", None), None)
    blocks = _blocks(entries, stored)
    size = f"blocks of {blocks.rows} x {blocks.columns}" if blocks.rows else "one scale for each matrix"
    plan = Plan(f"fp8, {size}", unread=scales_of_activations(stored))
    for name, tensor in stored.tensors.items():
        scale = next((name + end for end in _SCALES if name + end in stored.tensors), None)
        if tensor.dtype == FLOAT8 and name.endswith(".weight") and scale is not None:
            check_scale(stored, scale, tensor.shape, blocks)
            plan.add(name, tensor.shape, blocks, {"weight": name, "scale": scale})
    return plan


def _blocks(entries: JsonObject, stored: Stored) -> Blocks:
    size = entries.get("weight_block_size")
    if size is None:
        return Blocks(0, 0)
    if not isinstance(size, list) or len(size) != 2 or not all(type(length) is int and length > 0 for length in size):
        raise stored.refusal(
            f"needs two positive whole numbers for weight_block_size in quantization_config; got {size!r}"
        )
    return Blocks(*size)
