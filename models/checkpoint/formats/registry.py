"""The closed list of formats: the plan for a checkpoint, or a refusal that names the format and what to do."""

from collections.abc import Callable
from typing import Any

from models.checkpoint.files import JsonObject
from models.checkpoint.formats.bitsandbytes import plan_bitsandbytes
from models.checkpoint.formats.compressed_tensors import plan_compressed_tensors
from models.checkpoint.formats.fp8 import plan_fp8
from models.checkpoint.formats.mxfp4 import plan_mxfp4
from models.checkpoint.formats.packed_inputs import plan_awq, plan_gptq
from models.checkpoint.formats.plan import FLOAT8, FLOATING_POINT, Plan, Stored

METHODS: dict[str, Callable[[JsonObject, Stored], Plan]] = {
    "fp8": plan_fp8,
    "compressed-tensors": plan_compressed_tensors,
    "bitsandbytes": plan_bitsandbytes,
    "awq": plan_awq,
    "gptq": plan_gptq,
    "mxfp4": plan_mxfp4,
}
# Entries of config.json that say how weights are quantised; the second is of older versions of compressed-tensors.
QUANTIZATION_ENTRIES = ("quantization_config", "compression_config")
# What to do about other formats, where there is more to say than to use the weights they were made from.
METHOD_ADVICE = {
    "torchao": "load it with torchao and save dequantized weights, or use the checkpoint that it was made from",
    "modelopt": "use the checkpoint that it was made from, or its FP8 version of compressed-tensors",
    "auto-round": "export it as AWQ or GPTQ (AutoRound.save_quantized), or use the checkpoint that it was made from",
    "fbgemm_fp8": "use the checkpoint that it was made from, or its FP8 version of compressed-tensors",
}
OTHER_ADVICE = "use the checkpoint that it was made from, or a version of it in a supported format"
# Positions, token types and masks, which older versions of transformers stored beside the weights.
INTEGER_BUFFERS = ("position_ids", "token_type_ids", "num_batches_tracked", ".attn.bias", ".attn.masked_bias")


def quantization_entry(config: JsonObject) -> Any:
    """What config.json says of quantised weights; None for plain ones."""
    return next((config[key] for key in QUANTIZATION_ENTRIES if config.get(key)), None)


def make_plan(config: JsonObject, stored: Stored) -> Plan | None:
    """How the stored tensors become weights; None where every one is a plain weight.

    Raises: ModelError: the format or a setting of it is not supported, or a tensor is no number of any weight.
    """
    entry = quantization_entry(config)
    plan = None
    if entry is not None:
        method = _method(entry)
        if method not in METHODS:
            advice = METHOD_ADVICE.get(method, OTHER_ADVICE)
            raise stored.refusal(
                f"has weights quantised as {method}, which is not supported; {advice} (supported: {', '.join(METHODS)})"
            )
        plan = METHODS[method](entry, stored)
        # As files say of plain weights that were to be quantised when they are loaded, or once were quantised.
        plan = plan if plan.weights else None
    _check_types(stored, plan, is_quantised=entry is not None)
    return plan


def _method(entry: object) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    method = entry.get("quant_method")
    # Older files of bitsandbytes name no method.
    if method is None and (entry.get("load_in_8bit") or entry.get("load_in_4bit")):
        return "bitsandbytes"
    return str(method or "unknown")


def _check_types(stored: Stored, plan: Plan | None, *, is_quantised: bool) -> None:
    weights = stored.tensors if plan is None else plan.plain(stored).keys() - plan.weights.keys()
    for name in sorted(weights):
        dtype = stored.tensors[name].dtype
        if dtype in FLOATING_POINT or name.endswith(INTEGER_BUFFERS):
            continue
        missing = f"; its scales are missing: {name}_scale_inv" if dtype == FLOAT8 and is_quantised else ""
        raise stored.refusal(
            f"holds a weight that is not a floating-point number: {name} is {dtype}{missing}; "
            f"store it as one of: {', '.join(FLOATING_POINT)}"
        )
