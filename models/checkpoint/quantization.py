"""Which quantised weights are supported, and what to do about others. Reads config.json and headers only; no torch."""

import math

from models.checkpoint.folder import Checkpoint
from models.interface import ModelError

# The library converts these to the dtype that the model runs in. It is exact: an MXFP4 number has one mantissa bit.
SUPPORTED = {"mxfp4"}
NUMBERS_PER_BYTE = {"_blocks": 2}
SCALES = ("_scales", "_scale_inv")
# How to get plain weights. For fp8: inference/ in the DeepSeek-V3 repository; others are made from bfloat16 weights.
ADVICE = {"fp8": "convert it, for instance with fp8_cast_bf16.py of the DeepSeek-V3 repository"}
OTHER_ADVICE = "use the checkpoint that it was made from"
BFLOAT16_BYTES = 2
# Types of safetensors that hold a weight as it is.
FLOATING_POINT = ("F64", "F32", "F16", "BF16")
# Positions, token types and masks, which older versions of transformers stored beside the weights.
INTEGER_BUFFERS = ("position_ids", "token_type_ids", "num_batches_tracked", ".attn.bias", ".attn.masked_bias")


def quantisation(checkpoint: Checkpoint) -> str:
    """The quantisation method that config.json gives; "" for plain weights."""
    config = checkpoint.config.get("quantization_config")
    if not config:
        return ""
    return str(config.get("quant_method", "unknown") if isinstance(config, dict) else config)


def check_quantised(checkpoint: Checkpoint) -> None:
    """Refuse quantised weights that are not supported, and say what to do.

    Raises: ModelError.
    """
    method = quantisation(checkpoint)
    if not method:
        _check_types(checkpoint)
    if not method or method in SUPPORTED:
        return
    advice = ADVICE.get(method, OTHER_ADVICE)
    gigabytes = max(1, round(count_parameters(checkpoint) * BFLOAT16_BYTES / 1e9))
    raise ModelError(
        f"{checkpoint.path} has weights quantised as {method}, which is not supported; use bfloat16 weights "
        f"({advice}), which need {gigabytes:,} GB of memory"
    )


def count_parameters(checkpoint: Checkpoint) -> int:
    """Count the parameters in the tensors: several may share a byte, and scales are not counted."""
    return sum(
        math.prod(shape) * next((count for end, count in NUMBERS_PER_BYTE.items() if name.endswith(end)), 1)
        for name, shape in checkpoint.tensors.items()
        if not name.endswith(SCALES)
    )


def _check_types(checkpoint: Checkpoint) -> None:
    for name, dtype in checkpoint.tensor_types.items():
        if dtype not in FLOATING_POINT and not name.endswith(INTEGER_BUFFERS):
            raise ModelError(
                f"{checkpoint.path} holds a weight that is not a floating-point number: {name} is {dtype}; "
                f"store it as one of: {', '.join(FLOATING_POINT)}"
            )
